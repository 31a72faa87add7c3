"""Subtitles beside audio, as programs and people write them; what is expected was written by
hand."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.corpus.by_channel import planned
from pipelines.corpus.sources import open_source
from pipelines.corpus.tables.alignment import ALIGNMENT, ERROR
from pipelines.corpus.tables.values import SIDECAR_ERROR
from tokenizer.types import Recording

SRT = """1
00:00:00,000 --> 00:00:01,500
<i>Hello</i> &amp; {\\an8}welcome,
my friends.

2
00:00:01,600 --> 00:00:02,000 X1:10 X2:20 Y1:1 Y2:2


3
00:00:02,500 --> 00:00:04,000
a < b, <b>3</b> > 2

1984

4
0:00:03.2 --> 0:00:03.9
- Overlapped?
"""
SRT_SEGMENTS = [
    (0.0, 1.5, "Hello & welcome, my friends."),
    (2.5, 4.0, "a < b, 3 > 2 1984"),
    (3.2, 3.9, "- Overlapped?"),
]
UNORDERED = """7
00:00:02,000 --> 00:00:03,000
second
3
00:00:00,500 --> 00:00:01,000
first
"""
VTT = """WEBVTT - talk
Kind: captions

STYLE
::cue { color: lime --> }

NOTE
00:00.000 --> 00:09.000
not said

intro
00:00.500 --> 00:01.000 align:start position:0%
<v.loud Ann Lee>Hi <c.yellow>there</c>&nbsp;you

00:01.000 --> 100:00:02.250
<v Bob>Ja&lt;3
"""
YOUTUBE = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.389 align:start position:0%
 
hello<00:00:00.480><c> and</c><00:00:00.719><c> welcome</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hello and welcome
 

00:00:02.399 --> 00:00:04.000 align:start position:0%
hello and welcome
to<00:00:02.800><c> hello</c>
"""  # noqa: W293
CPP: dict[str, Any] = {
    "systeminfo": "AVX = 1",
    "model": {"type": "base"},
    "params": {"model": "m", "language": "auto", "translate": False},
    "result": {"language": "de"},
    "transcription": [
        {
            "timestamps": {"from": "00:00:00,000", "to": "00:00:01,000"},
            "offsets": {"from": 0, "to": 1000},
            "text": " Guten Tag.",
            "tokens": [
                {"text": "[_BEG_]", "offsets": {"from": 0, "to": 0}},
                {"text": " Gu", "offsets": {"from": 0, "to": 200}},
                {"text": "ten", "offsets": {"from": 200, "to": 400}},
                {"text": " Tag", "offsets": {"from": 500, "to": 900}},
                {"text": ".", "offsets": {"from": 900, "to": 1000}},
                {"text": "[_TT_50]", "offsets": {"from": 1000, "to": 1000}},
            ],
        }
    ],
}


def talk(path: Path, seconds: float = 5.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).standard_normal(round(seconds * 8_000)) * 0.1
    soundfile.write(path, noise, 8_000, subtype="PCM_16")
    return path


def recording(tmp_path: Path, **sidecars: str | bytes) -> Recording:
    talk(tmp_path / "talk.wav")
    for ending, content in sidecars.items():
        raw = content.encode() if isinstance(content, str) else content
        (tmp_path / f"talk.{ending.replace('_', '.')}").write_bytes(raw)
    (found,) = open_source(str(tmp_path)).scan()
    return found


def segments(found: Recording) -> list[tuple[float, float, str]]:
    return [(one["start"], one["end"], one["text"]) for one in found.meta["segments"]]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_subrip(tmp_path: Path, mark: bytes, end: str) -> None:
    found = recording(tmp_path, srt=mark + SRT.replace("\n", end).encode())
    assert segments(found) == SRT_SEGMENTS and ERROR not in found.meta
    assert found.text == " ".join(text for _, _, text in SRT_SEGMENTS)


def test_subrip_in_utf_16_and_out_of_order_without_blank_lines(tmp_path: Path) -> None:
    found = recording(tmp_path, srt=UNORDERED.encode("utf-16"))
    assert segments(found) == [(0.5, 1.0, "first"), (2.0, 3.0, "second")]
    assert found.text == "first second"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_webvtt(tmp_path: Path, end: str) -> None:
    found = recording(tmp_path, vtt="\ufeff" + VTT.replace("\n", end))
    assert segments(found) == [(0.5, 1.0, "Hi there you"), (1.0, 360_002.25, "Ja<3")]
    assert [one["speaker"] for one in found.meta["segments"]] == ["Ann Lee", "Bob"]
    assert (found.text, found.speaker) == ("Hi there you Ja<3", None)


def test_rolling_captions_are_read_once_with_their_words(tmp_path: Path) -> None:
    found = recording(tmp_path, vtt=YOUTUBE)
    assert found.text == "hello and welcome to hello"
    assert found.meta[ALIGNMENT] == [
        [0.16, 0.48, "hello"],
        [0.48, 0.719, "and"],
        [0.719, 2.389, "welcome"],
        [2.399, 2.8, "to"],
        [2.8, 4.0, "hello"],
    ]
    assert segments(found) == [(0.16, 2.389, "hello and welcome"), (2.399, 4.0, "to hello")]


def test_whisper_cpp(tmp_path: Path) -> None:
    found = recording(tmp_path, wav_json=json.dumps(CPP))
    assert (found.text, found.language) == ("Guten Tag.", "de")
    assert found.meta[ALIGNMENT] == [[0.0, 0.4, "Guten"], [0.5, 1.0, "Tag."]]
    assert segments(found) == [(0.0, 1.0, "Guten Tag.")]
    assert not {"systeminfo", "model", "params", "transcription"} & found.meta.keys()


@pytest.mark.parametrize(
    ("ending", "content", "text", "said"),
    [
        ("srt", SRT.replace("00:00:01,500", "00:00:0"), None, "line 2: `00:00:00,000 -->"),
        ("srt", SRT.replace("00:00:04,000", "00:00:01,000"), None, "before it begins"),
        ("vtt", VTT.replace("01.000 align", "99.000 align"), "Hi there you Ja<3", "line 12"),
        ("vtt", YOUTUBE.replace("00:00:02.800", "00:00:09.000"), None, "before it begins"),
        ("json", json.dumps(CPP).replace('"to": 1000', '"to": "x"'), "Guten Tag.", "Guten Tag"),
    ],
)
def test_a_wrong_time_costs_the_times_and_is_named(
    tmp_path: Path, ending: str, content: str, text: str | None, said: str
) -> None:
    found = recording(tmp_path, **{ending: content})
    assert f".{ending}: " in found.meta[ERROR] and said in found.meta[ERROR]
    assert "segments" not in found.meta and ALIGNMENT not in found.meta
    assert found.text == text if text else found.text


@pytest.mark.parametrize(
    ("ending", "content"),
    [("srt", b""), ("srt", b"\xff\xd8\xff\xe0"), ("vtt", b"1\n00:00.0 --> 00:01.0\nx\n")],
)
def test_what_is_none_is_named_and_costs_only_itself(
    tmp_path: Path, ending: str, content: bytes
) -> None:
    found = recording(tmp_path, **{ending: content, "txt": "said"})
    assert f".{ending}: " in found.meta[SIDECAR_ERROR] and found.text == "said"


def test_which_file_counts_of_several(tmp_path: Path) -> None:
    assert recording(tmp_path, srt=SRT, txt="written by hand").text == "written by hand"
    assert recording(tmp_path, wav_srt=UNORDERED, en_srt=UNORDERED).text == "written by hand"
    (tmp_path / "talk.txt").unlink()
    assert (recording(tmp_path).text or "").startswith("Hello")
    (tmp_path / "talk.srt").unlink()
    source = open_source(str(tmp_path))
    (found,) = source.scan()
    assert found.text is None and "not used: 2 .srt" in " ".join(source.notes)
    (tmp_path / "talk.wav.srt").unlink()
    assert recording(tmp_path).text == "first second"


def test_every_way_in_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    wanted = recording(folder, vtt=YOUTUBE)
    with tarfile.open(tmp_path / "talks.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    for spec in (tmp_path / "talks.tar", folder / "talk.wav"):
        source = open_source(str(spec))
        (found,) = planned(source, None, None, 60.0)
        assert (found.text, found.meta) == (wanted.text, wanted.meta)
        assert "times of words in 1 recording (meta.alignment)" in source.notes
