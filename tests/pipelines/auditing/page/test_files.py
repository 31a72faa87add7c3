"""What the page plays and shows: stretches, bandwidths, pictures, data."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from sounds import sound

from pipelines.auditing.page.clips import Stretch, decode_stretch, nested_levels
from pipelines.auditing.page.images import difference_png, mel_image, spectrogram_png
from pipelines.auditing.page.site import script
from tokenizer import load_codec
from tokenizer.codecs.encodec.seeded import write_seeded


@pytest.mark.parametrize("name", ["mulaw", "encodec"])
def test_a_stretch_is_what_decoding_all_gives_there(name: str, tmp_path: Path) -> None:
    where = name if name == "mulaw" else str(write_seeded(tmp_path / "codec", size="reduced"))
    codec = load_codec(where, bandwidth=6.0, device="cpu")
    codes = codec.encode(sound(5 * 47_520 + 200))
    whole = codec.decode(codes).samples
    for start, stop in (
        (0, 47_520),
        (2 * 47_520, 4 * 47_520),
        (4 * 47_520, 5 * 47_520 + 200),
        (0, 5 * 47_520 + 200),
    ):
        part = decode_stretch(codec, codes, Stretch(start, stop, start // 47_520, None))
        # Other chunks in a batch move the last bits of its products.
        np.testing.assert_allclose(
            part, whole[:, start:stop], rtol=0, atol=1e-5 * float(np.abs(whole).max())
        )


def test_nested_levels() -> None:
    assert [nested_levels(n) for n in (2, 4, 8, 16, 32, 3, 1)] == [
        [2],
        [2, 4],
        [2, 4, 8],
        [2, 4, 8, 16],
        [2, 4, 8, 16, 32],
        [3],
        [1],
    ]


def test_pictures_are_png_files() -> None:
    image = mel_image(sound(48_000).samples, 48_000)
    for content in (spectrogram_png(image), difference_png(image, image)):
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert (height, width) == image.shape
        at = content.index(b"IDAT")
        size = struct.unpack(">I", content[at - 4 : at])[0]
        raw = zlib.decompress(content[at + 4 : at + 4 + size])
        assert len(raw) == height * (width + 1)
    assert set(raw) == {0, 127}  # no difference: the palette's middle, and each row's filter


def test_data_cannot_end_its_script() -> None:
    assert b"</script" not in script("AUDIT", {"id": "</script><b>"})
