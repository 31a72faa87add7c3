"""Corpora whose audio is packed, or whose words have times, or that are music: written with tarfile
and json as their own tools write them, and the rows that must come of each."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from layout_corpora import RATE, Wanted, lines, samples, size, sound


def packed(number: int, length: int | None = None, format: str = "FLAC") -> bytes:
    """A recording as the content of a file."""
    sink = io.BytesIO()
    soundfile.write(sink, samples(number, length), RATE, format=format, subtype="PCM_16")
    return sink.getvalue()


def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _cut(id: str, length: int, channels: Any = 0, **also: Any) -> dict[str, Any]:
    """As `SharWriter` leaves a cut: it begins at 0, and its recording is a placeholder."""
    listed = channels if isinstance(channels, list) else [channels]
    recording = {
        "id": "talk",
        "sources": [{"type": "shar", "channels": listed, "source": ""}],
        "sampling_rate": RATE,
        "num_samples": length,
        "duration": length / RATE,
        "channel_ids": listed,
    }
    own = {"id": id, "start": 0, "duration": length / RATE, "channel": channels}
    return {**own, "supervisions": [], "recording": recording, "type": "MonoCut", **also}


def _supervision(text: str, length: int, **also: Any) -> dict[str, Any]:
    own = {"id": "s", "recording_id": "talk", "start": 0, "duration": length / RATE}
    return {**own, "text": text, "speaker": "ann", "language": "en", **also}


def shar(root: Path) -> list[Wanted]:
    """Two shards; a field of a list; a cut without a recording is only in the second test."""
    home, rows = root / "train", []
    for shard in range(2):
        cuts, members, more = [], {}, []
        for n in (2 * shard, 2 * shard + 1):
            words = [["w", 0.01, 0.01, None], [f"{n}", 0.02, 0.01, None]]
            said = _supervision(f"w {n}", size(n), alignment={"word": words})
            cut = _cut(f"cut-{n}.x", size(n), supervisions=[said], custom={"snr": n})
            cuts.append(cut)
            members[f"cut-{n}.x.flac"] = packed(n)
            members[f"cut-{n}.x.json"] = json.dumps(cut["recording"]).encode()
            more.append({"cut_id": f"cut-{n}.x", "mood": f"m{n}"})
            alignment = [[0.01, 0.02, "w"], [0.02, 0.03, f"{n}"]]
            meta = {"snr": n, "mood": f"m{n}", "alignment": alignment}
            rows.append(Wanted(f"cut-{n}.x", size(n), f"w {n}", "ann", "en", "train", meta))
        lines(home / f"cuts.{shard:06d}.jsonl.gz", *cuts)
        lines(home / f"mood.{shard:06d}.jsonl.gz", *more)
        tar(home / f"recording.{shard:06d}.tar", members)
    return rows


def nemo_tarred(root: Path) -> list[Wanted]:
    """Buckets, names that were squashed, a file that two rows are parts of."""
    rows = []
    for bucket in ("bucket1", "bucket2"):
        manifest = []
        for shard in range(2):
            tar(
                root / bucket / f"audio_{shard}.tar",
                {f"a_b_{shard}.wav": packed(shard, 4_800, "WAV"), "same.flac": packed(5 + shard)},
            )
            spans = [("", 0.0, 1_200), ("-sub1", 0.025, 3_600)]
            for part, offset, length in spans:
                path = f"a/b.{shard}{part}.wav"
                told = {"duration": length / RATE, "text": f"{bucket} {shard}{part}"}
                manifest.append({"audio_filepath": path, "offset": offset, **told})
                id = f"{bucket}/audio_{shard}/{path}#{offset:g}-{offset + length / RATE:g}"
                part = (shard, 4_800, round(offset * RATE))
                rows.append(Wanted(id, length, told["text"], "s", part=part))
            told = {"audio_filepath": "same.flac", "duration": size(5 + shard) / RATE, "text": "x"}
            manifest.append(told)
            rows.append(Wanted(f"{bucket}/audio_{shard}/same.flac", size(5 + shard), "x", "s"))
            for each in manifest[-3:]:
                each |= {"shard_id": shard, "speaker": "s"}
        lines(root / bucket / "tarred_audio_manifest.json", *manifest)
    return rows


def nemo_sharded(root: Path) -> list[Wanted]:
    """A manifest a shard, and no other."""
    rows = []
    for shard in range(2):
        tar(root / f"audio_{shard}.tar", {f"{shard}.flac": packed(shard)})
        told = {
            "audio_filepath": f"{shard}.flac",
            "duration": size(shard) / RATE,
            "text": f"t{shard}",
        }
        lines(root / "sharded_manifests" / f"manifest_{shard}.json", told)
        rows.append(Wanted(f"audio_{shard}/{shard}.flac", size(shard), f"t{shard}"))
    return rows


def moshi(root: Path) -> list[Wanted]:
    rows = []
    for n, split in enumerate(("train", "eval")):
        path = root / "data" / f"{n}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        both = np.stack([samples(n), samples(n + 7, size(n))], axis=1)
        soundfile.write(path, both, RATE, subtype="PCM_16")
        words = [["hi", [0.0, 0.01], "SPEAKER_MAIN"], ["you", [0.02, 0.03], "SPEAKER_OTHER"]]
        (root / "data" / f"{n}.json").write_text(json.dumps({"alignments": words[::-1]}))
        lines(root / f"{split}.jsonl", {"path": f"data/{n}.wav", "duration": size(n) / RATE})
        alignment = [[0.0, 0.01, "hi", "SPEAKER_MAIN"], [0.02, 0.03, "you", "SPEAKER_OTHER"]]
        meta = {"alignment": alignment}
        rows.append(Wanted(f"data/{n}.wav", size(n), "hi you", split=split, meta=meta))
    return rows


def fma(root: Path) -> list[Wanted]:
    head = [("album", "title"), ("artist", "name"), ("set", "split"), ("set", "subset")]
    head += [("track", "genre_top"), ("track", "genres"), ("track", "title")]
    body = [
        "First,Nicky,training,small,Hip-Hop,[21],Food",
        'Last,"A, B",test,small,,"[21, 45]","So\n so"',
    ]
    numbers = (2, 137)
    table = [f",{','.join(one for one, _ in head)}", f",{','.join(two for _, two in head)}"]
    table += ["track_id,,,,,,,"]
    table += [f"{number},{cells}" for number, cells in zip(numbers, body, strict=True)]
    lines(root / "fma_metadata" / "tracks.csv", *table, f"999,{body[0]}")
    for n, number in enumerate(numbers):
        sound(root / "fma_small" / "000" / f"{number:06d}.flac", n)
    first = {"title": "Food", "artist": "Nicky", "album": "First", "genre": "Hip-Hop"}
    last = {"title": "So\n so", "artist": "A, B", "album": "Last", "genres": [21, 45]}
    ids = [f"fma_small/000/{number:06d}.flac" for number in numbers]
    return [
        Wanted(ids[0], size(0), split="training", meta={**first, "genres": [21]}),
        Wanted(ids[1], size(1), split="test", meta={**last, "subset": "small"}),
    ]


def jamendo(root: Path) -> list[Wanted]:
    head = "TRACK_ID ARTIST_ID ALBUM_ID PATH DURATION TAGS".replace(" ", "\t")
    rows = ["track_0000948\tartist_7\talbum_1\t48/948.mp3\t212.7\tgenre---rock\tgenre---metal"]
    rows += ["track_0001009\tartist_7\talbum_2\t09/1009.mp3\t60.0\tmood/theme---calm"]
    rows += ["track_0009999\tartist_7\talbum_2\t99/9999.mp3\t60.0\tgenre---pop"]
    lines(root / "data" / "raw_30s.tsv", head, *rows)
    lines(root / "data" / "splits" / "split-0" / "autotagging-train.tsv", head, rows[0])
    lines(root / "data" / "splits" / "split-0" / "autotagging-test.tsv", head, rows[1])
    names = ["TRACK_ID", "TRACK_NAME", "ARTIST_NAME", "ALBUM_NAME", "RELEASEDATE", "URL"]
    told = ["track_0000948", "Trio", "Both", "One", "2004-12-28", "http://x"]
    lines(root / "data" / "raw.meta.tsv", "\t".join(names), "\t".join(told))
    sound(root / "audio" / "48" / "948.flac", 0)
    sound(root / "audio" / "09" / "1009.low.flac", 1)
    first = {"genre": ["rock", "metal"], "title": "Trio", "artist": "Both", "date": "2004-12-28"}
    return [
        Wanted("audio/48/948.flac", size(0), split="train", meta=first),
        Wanted("audio/09/1009.low.flac", size(1), split="test", meta={"mood": ["calm"]}),
    ]


MORE: dict[str, tuple[str, Callable[[Path], list[Wanted]]]] = {
    "shar": ("shar", shar),
    "nemo_tarred": ("nemotarred", nemo_tarred),
    "nemo_sharded": ("nemotarred", nemo_sharded),
    "moshi": ("moshi", moshi),
    "fma": ("fma", fma),
    "jamendo": ("jamendo", jamendo),
}
"""as `layout_corpora.CORPORA`"""
