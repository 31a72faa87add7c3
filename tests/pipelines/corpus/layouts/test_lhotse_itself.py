"""What Lhotse writes, held against what Lhotse reads: its own package is the truth, where it is
installed (`pip install lhotse`)."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from layout_corpora import RATE, samples, size, sound

from pipelines.corpus.sources import open_source
from pipelines.loader.dataset import CodesDataset
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from tokenizer.audio import read_audio
from tokenizer.codecs.registry import load_codec

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
    assert "neither in the recording's time" in rows["part"][0].meta["alignment_error"]


def test_one_shard_alone(tmp_path: Path, cuts: Any) -> None:
    from lhotse.shar import SharWriter

    (tmp_path / "shar").mkdir()
    with SharWriter(str(tmp_path / "shar"), fields={"recording": "flac"}, shard_size=2) as writer:
        for cut in cuts:
            writer.write(cut)
    assert list(found(tmp_path / "shar" / "cuts.000001.jsonl.gz")) == ["mono"]


def by_channel(folder: Path) -> list[Any]:
    """Both channels of two calls and of a part of the first, not in order, and one channel alone;
    each channel is a tone of its own."""
    cuts = []
    for number in range(2):
        time = np.arange(48_000) / RATE
        tones = [np.sin(2 * np.pi * (300 + 200 * (2 * number + c)) * time) for c in (0, 1)]
        path = folder / f"call{number}.wav"
        soundfile.write(path, 0.3 * np.stack(tones, axis=1), RATE, subtype="PCM_16")
        whole = lhotse.Recording.from_file(path)
        parts = [(0.0, 1.0), (0.25, 0.5)] if number == 0 else [(0.0, 1.0)]
        for start, length in parts:
            for c in (1, 0):
                id = f"{path.stem}-{start}-{c}"
                said = lhotse.SupervisionSegment(f"s-{id}", path.stem, 0.0, length, c, f"text {c}")
                cuts.append(lhotse.MonoCut(id, start, length, c, [said], recording=whole))
    alone = lhotse.MonoCut("alone", 0.1, 0.3, 1, recording=cuts[0].recording)
    return [cuts[0], cuts[2], cuts[1], cuts[3], alone, *cuts[4:]]


@pytest.mark.parametrize("form", ["cuts", "files", "shar"])
def test_channels_of_a_recording_are_one_sample_for_the_loader(tmp_path: Path, form: str) -> None:
    """A file of two channels, a file for each, and a packed file for each."""
    cuts = by_channel(tmp_path)
    (tmp_path / "made").mkdir()
    if form == "shar":
        from lhotse.shar import SharWriter

        with SharWriter(str(tmp_path / "made"), fields={"recording": "flac"}) as writer:
            for cut in cuts:
                writer.write(cut)
    else:
        lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "made" / "cuts.jsonl.gz")
    if form == "files":
        apart(tmp_path)
    config = TokenizeConfig(source=str(tmp_path / "made"), codec="mulaw", bandwidth=24.0)
    tokenize_corpus(config, str(tmp_path / "out"), RunOptions(workers=0, quiet=True))
    data = CodesDataset(str(tmp_path / "out"), channels=2)
    codec, found = load_codec("mulaw", bandwidth=24.0), {}
    for number in range(len(data)):
        sample = data.read(number, fields=("text", "scales", "meta"))
        assert sample.fields["text"] == ("text 0", "text 1")
        heard = [codec.decode(one.to_codes()).samples[0] for one in sample.channels]
        tones = [int(np.abs(np.fft.rfft(each)).argmax() * RATE / len(each)) for each in heard]
        names = {meta["recording"] for meta in sample.fields["meta"]}
        assert [meta["channel"] for meta in sample.fields["meta"]] == [0, 1] and len(names) == 1
        found[names.pop()] = tones, len(heard[0])
    assert found == {
        "call0": ([300, 500], 48_000),
        "call1": ([700, 900], 48_000),
        ("call0#call0-0.25-0" if form == "shar" else "call0#0.25-0.75"): ([300, 500], 24_000),
    }
    assert data.left_out == 1


def apart(folder: Path) -> None:
    """Each channel in a file of its own, as telephone corpora come."""
    for number in range(2):
        both, _ = soundfile.read(folder / f"call{number}.wav")
        for c in (0, 1):
            soundfile.write(folder / f"call{number}-{c}.wav", both[:, c], RATE, subtype="PCM_16")
    path = folder / "made" / "cuts.jsonl.gz"
    cuts = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for cut in cuts:
        stem = cut["recording"]["id"]
        cut["recording"]["sources"] = [
            {"type": "file", "channels": [c], "source": f"{folder}/{stem}-{c}.wav"} for c in (0, 1)
        ]
    path.write_bytes(gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode()))
