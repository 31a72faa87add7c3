"""What Lhotse writes, held against what Lhotse reads: its own package is the truth, where it is
installed (`pip install lhotse`)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from layout_corpora import RATE, samples, size, sound

from pipelines.corpus.sources import open_source
from tokenizer.audio import read_audio

lhotse = pytest.importorskip("lhotse")
warnings.filterwarnings("ignore")


@pytest.fixture
def cuts(tmp_path: Path) -> Any:
    """A stereo recording whole and cut, one channel of it, and a mono one."""
    from lhotse.supervision import AlignmentItem

    both = np.stack([samples(0, 48_000), samples(9, 48_000)], axis=1)
    soundfile.write(tmp_path / "talk.wav", both, RATE, subtype="PCM_16")
    talk = lhotse.Recording.from_file(tmp_path / "talk.wav")
    mono = lhotse.Recording.from_file(sound(tmp_path / "mono.wav", 3))
    words = [AlignmentItem("hello", 0.3, 0.1), AlignmentItem("there", 0.5, 0.2)]
    said = lhotse.SupervisionSegment(
        *("s0", "talk", 0.25, 0.5, [0, 1], "hello there", "en", "ann"), alignment={"word": words}
    )
    whole = talk.to_cut()
    whole.supervisions = [said]
    part = whole.truncate(offset=0.2, duration=0.6, preserve_id=True)
    part.id = "part"
    return lhotse.CutSet.from_cuts([whole, part, mono.to_cut()])


def found(source: Path) -> dict[str, Any]:
    opened = open_source(str(source))
    rows = {}
    for row in opened.scan():
        assert "rejected" not in row.locator, row.locator
        heard = read_audio(opened.open(row), start=row.start, end=row.end).samples
        rows[row.id] = row, heard if row.channel is None else heard[row.channel : row.channel + 1]
    return rows


def test_cuts_are_what_lhotse_loads(tmp_path: Path, cuts: Any) -> None:
    from dataclasses import replace

    whole = next(iter(cuts))
    left = replace(whole, id="left", channel=[0], supervisions=[])
    right = lhotse.MonoCut("right", 0.1, 0.3, 1, recording=whole.recording)
    every = lhotse.CutSet.from_cuts([*cuts, left, right])
    every.to_file(tmp_path / "cuts_train.jsonl.gz")
    rows = found(tmp_path / "cuts_train.jsonl.gz")
    assert rows.keys() == set(every.ids) and {rows[i][0].channel for i in ("left", "right")} == {
        0,
        1,
    }
    for cut in every:
        row, heard = rows[cut.id]
        np.testing.assert_allclose(heard, cut.load_audio(), atol=2 / 32_768)
        assert row.text == (cut.supervisions[0].text if cut.supervisions else None)
    words = [[0.3, 0.4, "hello"], [0.5, 0.7, "there"]]
    assert rows["talk"][0].meta["alignment"] == words
    moved = [[start - 0.2, end - 0.2, text] for start, end, text in words]
    told = rows["part"][0].meta["alignment"]
    assert [text for *_, text in told] == ["hello", "there"]
    np.testing.assert_allclose([each[:2] for each in told], [each[:2] for each in moved], atol=1e-6)


@pytest.mark.parametrize("format", ["flac", "wav", "original"])
def test_shar_is_what_lhotse_loads(tmp_path: Path, cuts: Any, format: str) -> None:
    from lhotse.shar import SharWriter

    home = tmp_path / "shar"
    home.mkdir()
    with SharWriter(str(home), fields={"recording": format}, shard_size=2) as writer:
        for cut in cuts:
            writer.write(cut)
    rows, loaded = found(home), list(lhotse.CutSet.from_shar(in_dir=home))
    assert list(rows) == [cut.id for cut in loaded] and len(rows) == 3
    for cut in loaded:
        row, heard = rows[cut.id]
        np.testing.assert_allclose(heard, cut.load_audio(), atol=2 / 32_768)
        assert row.text == (cut.supervisions[0].text if cut.supervisions else None)
        assert row.speaker == (cut.supervisions[0].speaker if cut.supervisions else None)
    assert rows["talk"][0].meta["alignment"][0] == [0.3, 0.4, "hello"]
    assert rows["mono"][1].shape == (1, size(3))
    # The words of a cut that was cut are told in the times of a recording that is not there.
    assert "alignment" not in rows["part"][0].meta


def test_one_shard_alone(tmp_path: Path, cuts: Any) -> None:
    from lhotse.shar import SharWriter

    (tmp_path / "shar").mkdir()
    with SharWriter(str(tmp_path / "shar"), fields={"recording": "flac"}, shard_size=2) as writer:
        for cut in cuts:
            writer.write(cut)
    assert list(found(tmp_path / "shar" / "cuts.000001.jsonl.gz")) == ["mono"]
