"""One recording, one set of samples, whichever way it comes in; and those are what decoders say
that share no code with ours."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from audio_files import RATE, by_ffmpeg, by_soundfile, noise, wav
from needs import lacking
from s3 import forget_clients

from pipelines.corpus.sources import open_source
from tokenizer import read_audio
from tokenizer.audio import stream_audio

SECONDS = 2.4
SOUND = noise(SECONDS)
ID3_1 = b"TAG" + b"A Song".ljust(125, b"\0")
MP3 = ("libmp3lame", noise(SECONDS, rate=44_100))

FORMATS: dict[str, Callable[[], bytes]] = {
    "pcm16.wav": lambda: wav(SOUND),
    "pcm8.wav": lambda: by_soundfile(SOUND, "WAV", "PCM_U8"),
    "pcm24.wav": lambda: by_soundfile(SOUND, "WAV", "PCM_24"),
    "float.wav": lambda: by_soundfile(SOUND, "WAV", "FLOAT"),
    "ulaw.wav": lambda: by_soundfile(SOUND, "WAV", "ULAW"),
    "alaw.wav": lambda: by_soundfile(SOUND, "WAV", "ALAW"),
    "ima.wav": lambda: by_soundfile(SOUND, "WAV", "IMA_ADPCM"),
    "ms.wav": lambda: by_soundfile(SOUND, "WAV", "MS_ADPCM"),
    "piped.wav": lambda: wav(SOUND, 0x7FFFF000),
    "a.flac": lambda: by_soundfile(SOUND, "FLAC", "PCM_16"),
    "a24.flac": lambda: by_soundfile(SOUND, "FLAC", "PCM_24"),
    "a.aiff": lambda: by_soundfile(SOUND, "AIFF", "PCM_16"),
    "a.au": lambda: by_soundfile(SOUND, "AU", "PCM_16"),
    "a.caf": lambda: by_soundfile(SOUND, "CAF", "PCM_24"),
    "a.w64": lambda: by_soundfile(SOUND, "W64", "PCM_16"),
    "lame.mp3": lambda: by_ffmpeg("mp3", MP3, rate=44_100),
    "bare.mp3": lambda: by_ffmpeg(
        "mp3", MP3, rate=44_100, options={"write_xing": "0", "id3v2_version": "0"}
    ),
    "tagged.mp3": lambda: by_ffmpeg("mp3", MP3, rate=44_100) + ID3_1,
    "vorbis.ogg": lambda: by_soundfile(SOUND, "OGG", "VORBIS"),
    "chain.ogg": lambda: (
        by_soundfile(SOUND, "OGG", "VORBIS") + by_soundfile(SOUND[:, :30_000], "OGG", "VORBIS")
    ),
    "a.opus": lambda: by_ffmpeg("ogg", ("libopus", SOUND)),
    "a.m4a": lambda: by_ffmpeg("ipod", ("aac", SOUND)),
    "alac.m4a": lambda: by_ffmpeg("ipod", ("alac", SOUND)),
    "a.aac": lambda: by_ffmpeg("adts", ("aac", SOUND)),
    "a.wma": lambda: by_ffmpeg("asf", ("wmav2", SOUND)),
    "a.webm": lambda: by_ffmpeg("webm", ("libopus", SOUND)),
    "a.mkv": lambda: by_ffmpeg("matroska", ("flac", SOUND), video_seconds=SECONDS),
    "a.mp4": lambda: by_ffmpeg("mp4", ("aac", SOUND), video_seconds=SECONDS),
    "a.wv": lambda: by_ffmpeg("wv", ("wavpack", SOUND)),
}


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    return {name: make() for name, make in FORMATS.items()}


@pytest.fixture(scope="session")
def truth(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """The samples by path."""
    folder = tmp_path_factory.mktemp("truth")
    found = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        found[name] = read_audio(folder / name).samples
    return found


def through(spec: str) -> dict[str, np.ndarray]:
    """The samples of all recordings of a source, by the name that their meta or id holds."""
    # A list may name URLs where it is told so.
    source, found = open_source(spec, follow_links=True), {}
    for recording in source.scan():
        file = source.open(recording)
        stream = stream_audio(file, start=recording.start, end=recording.end, name=recording.uri)
        found[str(recording.meta.get("name", recording.id)).replace("_", ".")] = np.concatenate(
            list(stream), axis=1
        )
        if not isinstance(file, str):
            file.close()
    return found


def by_path(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    for name, content in files.items():
        (root / name).write_bytes(content)
    return through(str(root))


def by_bytes(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    return {
        name: read_audio(io.BytesIO(content), name=name).samples for name, content in files.items()
    }


def by_memory(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    store, folder = fsspec.filesystem("memory"), f"/{root.name}-ways"
    for name, content in files.items():
        store.pipe_file(f"{folder}/{name}", content)
    (root / "list.jsonl").write_text(
        "".join(
            json.dumps({"path": f"memory:/{folder}/{name}", "name": name}) + "\n" for name in files
        )
    )
    return through(str(root / "list.jsonl"))


def by_tar(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    with tarfile.open(root / "a.tar", "w") as tar:
        for name, content in files.items():
            key, _, ending = name.rpartition(".")
            for member, body in (
                (f"{key}_{ending}.{ending}", content),
                (f"{key}_{ending}.json", json.dumps({"name": name}).encode()),
            ):
                info = tarfile.TarInfo(member)
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    return through(str(root / "a.tar"))


def by_parquet(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    cells = [{"bytes": content, "path": name} for name, content in files.items()]
    (root / "set").mkdir()
    pq.write_table(
        pa.table({"audio": cells, "name": list(files)}),
        root / "set" / "a.parquet",
        row_group_size=3,
    )
    return through(str(root / "set"))


def by_saved_set(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    import datasets

    rows = {
        "audio": [{"bytes": content, "path": None} for content in files.values()],
        "name": list(files),
    }
    datasets.Dataset.from_dict(rows).cast_column(
        "audio", datasets.Audio(decode=False)
    ).save_to_disk(str(root / "saved"))
    return through(str(root / "saved"))


def by_segments(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    """In three pieces, which are one again when they are put together."""
    lines = []
    for name, content in files.items():
        (root / name).write_bytes(content)
        for start, end in ((0, 0.5), (0.5, 1.25), (1.25, None)):
            span = {"start": start} | ({} if end is None else {"end": end})
            lines.append({"path": name, "id": f"{start}/{name}", "name": f"{start}/{name}", **span})
    (root / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pieces = through(str(root / "list.jsonl"))
    return {
        name: np.concatenate([pieces[f"{start}/{name}"] for start in ("0", "0.5", "1.25")], axis=1)
        for name in files
    }


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        running.stop()


def by_s3(files: Mapping[str, bytes], root: Path) -> dict[str, np.ndarray]:
    """A real server on this machine."""
    with s3_server() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        forget_clients()
        store = fsspec.filesystem(
            "s3", endpoint_url=address, key="test", secret="test", skip_instance_cache=True
        )
        store.mkdir("ways")
        for name, content in files.items():
            store.pipe_file(f"ways/{name}", content)
        lines = [{"path": f"s3://ways/{name}", "name": name} for name in files]
        (root / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            return through(str(root / "list.jsonl"))
        finally:
            forget_clients()


WAYS = {
    "path": by_path,
    "bytes": by_bytes,
    "fsspec": by_memory,
    "tar": by_tar,
    "parquet": by_parquet,
    "data set": by_saved_set,
    "segments": by_segments,
    "s3": by_s3,
}
"""another way in is one function and one row"""


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_gives_the_same_samples(
    way: str, files: dict[str, bytes], truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    found = {
        name.rpartition("/")[2] if way == "path" else name: samples
        for name, samples in WAYS[way](files, tmp_path).items()
    }
    assert found.keys() == truth.keys()
    assert [name for name in truth if not np.array_equal(found[name], truth[name])] == []


def tool(*command: str) -> bytes:
    if shutil.which(command[0]) is None:
        lacking(f"{command[0]} is not installed", "CODECSHARDS_EXPECT_DECODERS")
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def floats(raw: bytes, channels: int) -> np.ndarray:
    return np.frombuffer(raw, "<f4").reshape(-1, channels).T


def by_ffmpeg_itself(path: Path) -> np.ndarray:
    return floats(
        tool("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-"), 2
    )


def by_libsndfile(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def by_flac_itself(path: Path) -> np.ndarray:
    return by_libsndfile(io.BytesIO(tool("flac", "-d", "-c", "-s", str(path))))  # type: ignore[arg-type]


def by_mpg123(path: Path) -> np.ndarray:
    return floats(tool("mpg123", "-q", "-e", "f32", "-s", str(path)), 2)


def by_opusdec(path: Path) -> np.ndarray:
    tool(
        "opusdec", "--quiet", "--float", "--rate", "48000", str(path), str(path.with_suffix(".wav"))
    )
    return by_libsndfile(path.with_suffix(".wav"))


EXACT, LOSSY = 0.0, 2e-3
ORACLES = {
    **{
        name: (by_libsndfile, EXACT)
        for name in FORMATS
        if name.endswith((".wav", ".aiff", ".au", ".caf", ".w64"))
    },
    **dict.fromkeys(("piped.wav", "ms.wav"), (by_ffmpeg_itself, EXACT)),
    "a.flac": (by_flac_itself, EXACT),
    "a24.flac": (by_flac_itself, EXACT),
    "lame.mp3": (by_mpg123, LOSSY),
    "tagged.mp3": (by_mpg123, LOSSY),
    "vorbis.ogg": (by_libsndfile, LOSSY),
    "a.opus": (by_opusdec, LOSSY),
    **dict.fromkeys(("alac.m4a", "a.mkv", "a.wv"), (by_ffmpeg_itself, EXACT)),
    **dict.fromkeys(
        ("bare.mp3", "a.m4a", "a.aac", "a.wma", "a.webm", "a.mp4"), (by_ffmpeg_itself, LOSSY)
    ),
}
"""an independent decoder, and by how much its samples may differ: lossy decoders round in their own
ways"""
LATE = dict.fromkeys(("a.m4a", "a.mp4", "a.aac", "a.webm", "a.wma", "ms.wav"), 2048)
"""samples that versions of FFmpeg leave on behind (padding of the last packet, or block)"""


@pytest.mark.parametrize("name", ORACLES)
def test_samples_are_those_of_an_independent_decoder(
    name: str, files: dict[str, bytes], truth: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(files[name])
    decode, tolerance = ORACLES[name]
    theirs, ours = decode(path), truth[name]
    assert abs(theirs.shape[1] - ours.shape[1]) <= LATE.get(name, 0)
    if name == "ms.wav":  # its `fact` says how much of the last block is sound
        assert ours.shape[1] == SOUND.shape[-1]
    length = min(theirs.shape[1], ours.shape[1])
    assert length >= int(SECONDS * min(RATE, 44_100)) - 3_000
    assert np.abs(theirs[:, :length] - ours[:, :length]).max() <= tolerance
