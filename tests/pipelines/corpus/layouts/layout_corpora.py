"""Small corpora in the forms that people publish them in, written with soundfile, csv and json, and
the rows that must come of each."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 48_000
LENGTH = 2_400
"""samples of the first recording; each next one has 240 more"""


@dataclass(frozen=True)
class Wanted:
    """A row that must come out."""

    id: str
    samples: int
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    split: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    part: tuple[int, int, int] | None = None
    """number and length of the sound that it is a part of, and its first sample there; None: it is
    the whole of the sound that has its length"""

    @property
    def audio(self) -> np.ndarray:
        """What must be heard, as 16 bits hold it."""
        number, length, start = self.part or ((self.samples - LENGTH) // 240, self.samples, 0)
        return samples(number, length)[start : start + self.samples]


def samples(number: int, length: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(number)
    return (0.2 * rng.standard_normal(length or size(number))).astype(np.float32)


def size(number: int) -> int:
    return LENGTH + 240 * number


def sound(path: Path, number: int, length: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples(number, length), RATE, subtype="PCM_16")
    return path


def lines(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def ljspeech(root: Path) -> list[Wanted]:
    for n in range(3):
        sound(root / "wavs" / f"LJ001-{n:04d}.wav", n)
    lines(
        root / "metadata.csv",
        'LJ001-0000|He said "no|He said "no',
        "LJ001-0001|Dr. Who, 1910|Doctor Who, nineteen ten",
        "LJ001-0002|the last|",
    )
    texts = ['He said "no', "Doctor Who, nineteen ten", "the last"]
    raw = [{}, {"raw_text": "Dr. Who, 1910"}, {}]
    return [Wanted(f"wavs/LJ001-{n:04d}.wav", size(n), texts[n], meta=raw[n]) for n in range(3)]


def librispeech(root: Path) -> list[Wanted]:
    rows = []
    for n, (split, speaker) in enumerate([("train-clean-100", "19"), ("dev-other", "84")]):
        chapter = root / split / speaker / "198"
        for k in range(2):
            sound(chapter / f"{speaker}-198-{k:04d}.flac", n + k)
            id = f"{split}/{speaker}/198/{speaker}-198-{k:04d}.flac"
            rows.append(Wanted(id, size(n + k), f"WORDS {n} {k}", speaker, split=split))
        lines(
            chapter / f"{speaker}-198.trans.txt",
            *(f"{speaker}-198-{k:04d} WORDS {n} {k}" for k in range(2)),
        )
    return rows


def mls(root: Path) -> list[Wanted]:
    home = root / "mls_polish" / "dev"
    sound(home / "audio" / "6892" / "10054" / "6892_10054_000000.flac", 0)
    lines(home / "transcripts.txt", "6892_10054_000000\tżółta łódź")
    id = "mls_polish/dev/audio/6892/10054/6892_10054_000000.flac"
    return [Wanted(id, size(0), "żółta łódź", "6892", "pl", "dev")]


def libritts(root: Path) -> list[Wanted]:
    home = root / "train-clean-360" / "84" / "121123"
    for n in range(2):
        stem = f"84_121123_00000{n}_000000"
        sound(home / f"{stem}.wav", n)
        lines(home / f"{stem}.original.txt", f"No. {n}")
        if n == 0:
            lines(home / f"{stem}.normalized.txt", "Number nought")
    prefix = "train-clean-360/84/121123/84_121123_00000"
    first = {"original_text": "No. 0"}
    return [
        Wanted(
            f"{prefix}0_000000.wav", size(0), "Number nought", "84", None, home.parts[-3], first
        ),
        Wanted(f"{prefix}1_000000.wav", size(1), "No. 1", "84", None, home.parts[-3]),
    ]


def vctk(root: Path) -> list[Wanted]:
    rows = []
    for n, speaker in enumerate(("p225", "p226")):
        lines(root / "txt" / speaker / f"{speaker}_001.txt", f"Please call {n}.")
        for mic in ("mic1", "mic2"):
            name = f"wav48_silence_trimmed/{speaker}/{speaker}_001_{mic}.flac"
            sound(root / name, n)
            meta = {"mic": mic, "gender": "FM"[n], "utterance": f"{speaker}_001"}
            rows.append(Wanted(name, size(n), f"Please call {n}.", speaker, meta=meta))
    lines(
        root / "speaker-info.txt",
        "ID  AGE  GENDER  ACCENTS  REGION COMMENTS",
        "p225  23  F    English    Southern  England",
        "p226  22  M    English    Surrey",
    )
    return rows


def common_voice(root: Path) -> list[Wanted]:
    head = ["client_id", "path", "sentence", "up_votes", "locale"]
    tables = {"train": [0], "dev": [1], "validated": [0, 1, 2], "invalidated": [3]}
    for split, clips in tables.items():
        body = (f"c{n}\tclip_{n}.wav\t{SENTENCES[n]}\t2\tcy" for n in clips)
        lines(root / "cy" / f"{split}.tsv", "\t".join(head), *body)
    lines(root / "cy" / "clip_durations.tsv", "clip\tduration[ms]", "clip_0.wav\t50")
    splits = ["train", "dev", "validated", "invalidated"]
    rows = []
    for n, split in enumerate(splits):
        sound(root / "cy" / "clips" / f"clip_{n}.wav", n)
        text = None if split == "invalidated" else SENTENCES[n]
        rows.append(Wanted(f"cy/clips/clip_{n}.wav", size(n), text, f"c{n}", "cy", split))
    return rows


SENTENCES = ["Leave it there.", '"Stop it, came the call.', 'Then "no", loudly.', "Wrong words."]


def audiofolder_csv(root: Path) -> list[Wanted]:
    rows = []
    for n, split in enumerate(("train", "test")):
        sound(root / split / "a" / f"{n}.wav", n)
        with (root / split / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("file_name", "transcription", "speaker_id"), (f"a/{n}.wav", f"one, {n}", f"s{n}")]
            )
        rows.append(Wanted(f"{split}/a/{n}.wav", size(n), f"one, {n}", f"s{n}", split=split))
    return rows


def audiofolder_jsonl(root: Path) -> list[Wanted]:
    sound(root / "a.wav", 0)
    lines(root / "metadata.jsonl", {"file_name": "a.wav", "text": "words", "lang": "en", "n": 3})
    return [Wanted("a.wav", size(0), "words", None, "en", meta={"n": 3})]


def audiofolder_parquet(root: Path) -> list[Wanted]:
    sound(root / "a.wav", 0)
    pq.write_table(pa.table({"file_name": ["a.wav"], "text": ["words"]}), root / "metadata.parquet")
    return [Wanted("a.wav", size(0), "words")]


SPANS = ((0, 1_200), (1_200, 4_800))


def kaldi(root: Path) -> list[Wanted]:
    sound(root / "far" / "talk.wav", 0, 7_200)
    data = root / "data" / "train"
    lines(data / "wav.scp", f"talk {root}/far/talk.wav")
    lines(
        data / "segments",
        *(f"u{n} talk {a / RATE:.4f} {b / RATE:.4f}" for n, (a, b) in enumerate(SPANS)),
        "u2 talk 0.1 -1",
    )
    lines(data / "text", "u0 first words", "u1 second words", "u2")
    lines(data / "utt2spk", "u0 s1", "u1 s2", "u2 s1")
    lines(data / "utt2lang", "u0 en", "u1 de", "u2 en")
    return [
        Wanted("u0", 1_200, "first words", "s1", "en", "train", part=(0, 7_200, 0)),
        Wanted("u1", 3_600, "second words", "s2", "de", "train", part=(0, 7_200, 1_200)),
        Wanted("u2", 2_400, None, "s1", "en", "train", part=(0, 7_200, 4_800)),
    ]


def espnet(root: Path) -> list[Wanted]:
    """Paths from where the recipe runs, two sets, no segments."""
    rows = []
    for n, name in enumerate(("train", "dev")):
        sound(root / "downloads" / f"{n}.wav", n)
        lines(root / "data" / name / "wav.scp", f"u0 downloads/{n}.wav")
        lines(root / "data" / name / "text", f"u0 words {n}")
        rows.append(Wanted(f"data/{name}/u0", size(n), f"words {n}", split=name))
    return rows


def nemo(root: Path) -> list[Wanted]:
    sound(root / "talk.wav", 0, 4_800)
    sound(root / "b.wav", 1)
    spans = [
        {
            "audio_filepath": "talk.wav",
            "offset": a / RATE,
            "duration": (b - a) / RATE,
            "text": f"t{n}",
        }
        for n, (a, b) in enumerate(SPANS)
    ]
    lines(root / "train_manifest.json", *spans)
    whole = {"audio_filepath": str(root / "b.wav"), "duration": size(1) / RATE, "text": "t2"}
    lines(root / "dev_manifest.json.gz", whole | {"speaker": "s", "lang": "fr"})
    return [
        Wanted("talk.wav#0-0.025", 1_200, "t0", split="train", part=(0, 4_800, 0)),
        Wanted("talk.wav#0.025-0.1", 3_600, "t1", split="train", part=(0, 4_800, 1_200)),
        Wanted(str(root / "b.wav"), size(1), "t2", "s", "fr", "dev"),
    ]


def _recording(path: str, length: int) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": path}
    known = {"sampling_rate": RATE, "num_samples": length, "duration": length / RATE}
    return {"id": Path(path).stem, "sources": [source], **known}


def lhotse_supervisions(root: Path) -> list[Wanted]:
    sound(root / "audio" / "talk.wav", 0, 4_800)
    sound(root / "audio" / "mute.wav", 1)
    made = [_recording("audio/talk.wav", 4_800), _recording(f"{root}/audio/mute.wav", size(1))]
    lines(root / "manifests" / "x_recordings_dev-1.jsonl.gz", *made)
    lines(
        root / "manifests" / "x_supervisions_dev-1.jsonl.gz",
        *(
            {
                "id": f"s{n}",
                "recording_id": "talk",
                "start": a / RATE,
                "duration": (b - a) / RATE,
                "text": f"t{n}",
                "speaker": f"spk{n}",
                "language": "English",
            }
            for n, (a, b) in enumerate(SPANS)
        ),
    )
    return [
        Wanted("s0", 1_200, "t0", "spk0", "English", "dev-1", part=(0, 4_800, 0)),
        Wanted("s1", 3_600, "t1", "spk1", "English", "dev-1", part=(0, 4_800, 1_200)),
        Wanted("mute", size(1), split="dev-1"),
    ]


def lhotse_cuts(root: Path) -> list[Wanted]:
    sound(root / "talk.wav", 0, 4_800)
    cuts = [
        {
            "id": f"cut{n}",
            "start": a / RATE,
            "duration": (b - a) / RATE,
            "channel": 0,
            "supervisions": [
                {"id": "2", "start": 0.02, "duration": 0.01, "text": "after", "speaker": f"b{n}"},
                {"id": "1", "start": 0.0, "duration": 0.01, "text": "before", "speaker": "a0"},
            ][1 - n :],
            "recording": _recording("talk.wav", 4_800),
            "type": "MonoCut",
        }
        for n, (a, b) in enumerate(SPANS)
    ]
    lines(root / "cuts_train.jsonl.gz", *cuts)
    return [
        Wanted("cut0", 1_200, "before", "a0", split="train", part=(0, 4_800, 0)),
        Wanted("cut1", 3_600, "before after", None, split="train", part=(0, 4_800, 1_200)),
    ]


def ytdlp(root: Path) -> list[Wanted]:
    sound(root / "A Song [x1].wav", 0)
    info = {"id": "x1", "title": "A Song", "language": "en", "formats": [{"url": "…"}]}
    lines(root / "A Song [x1].info.json", info)
    lines(root / "list.info.json", {"_type": "playlist"})
    meta = {"title": "A Song", "video_id": "x1"}
    return [Wanted("A Song [x1].wav", size(0), None, None, "en", meta=meta)]


def stems(root: Path) -> list[Wanted]:
    rows = []
    for n, stem in enumerate(("bass", "drums", "mixture", "vocals")):
        sound(root / "train" / "Band - Song" / f"{stem}.wav", n)
        meta = {"group": "train/Band - Song", "stem": stem}
        id = f"train/Band - Song/{stem}.wav"
        rows.append(Wanted(id, size(n), split="train", meta=meta))
    return rows


CORPORA: dict[str, tuple[str, Callable[[Path], list[Wanted]]]] = {
    "ljspeech": ("ljspeech", ljspeech),
    "librispeech": ("librispeech", librispeech),
    "mls": ("librispeech", mls),
    "libritts": ("libritts", libritts),
    "vctk": ("vctk", vctk),
    "common_voice": ("commonvoice", common_voice),
    "audiofolder_csv": ("audiofolder", audiofolder_csv),
    "audiofolder_jsonl": ("audiofolder", audiofolder_jsonl),
    "audiofolder_parquet": ("audiofolder", audiofolder_parquet),
    "kaldi": ("kaldi", kaldi),
    "espnet": ("kaldi", espnet),
    "nemo": ("nemo", nemo),
    "lhotse_supervisions": ("lhotse", lhotse_supervisions),
    "lhotse_cuts": ("lhotse", lhotse_cuts),
    "ytdlp": ("ytdlp", ytdlp),
    "stems": ("stems", stems),
}
"""name → row of `LAYOUTS`, and how it is written"""
