"""Sound files of many formats, and what happens to them: made by FFmpeg's libraries, libsndfile,
and by hand."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tokenizer import RecordingError, read_audio
from tokenizer.audio.containers.ogg import checksum

RATE = 48_000


class Files(Mapping[str, bytes]):
    """Contents by name, each made when it is first asked for: every process of a test run imports
    every test, and runs few of them."""

    def __init__(self, makers: Mapping[str, Callable[[], bytes]]) -> None:
        self._makers, self._made = makers, dict[str, bytes]()

    def __getitem__(self, name: str) -> bytes:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def noise(seconds: float, channels: int = 2, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone in noise, float32 `[channels, n]`: no stretch of it is like another."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = 0.3 * np.sin(2 * np.pi * 330 * time) + 0.05 * rng.standard_normal((channels, len(time)))
    return sound.astype(np.float32)


def by_soundfile(
    samples: np.ndarray, form: str, subtype: str | None = None, rate: int = RATE
) -> bytes:
    """A file by libsndfile."""
    sink = io.BytesIO()
    soundfile.write(sink, samples.T, rate, format=form, subtype=subtype)
    return sink.getvalue()


def by_ffmpeg(
    muxer: str,
    *tracks: tuple[str, np.ndarray],
    rate: int = RATE,
    begin: float = 0.0,
    default: int | None = None,
    video_seconds: float = 0.0,
    options: dict[str, str] | None = None,
    layout: str | None = None,
) -> bytes:
    """A file by FFmpeg's libraries: sound as (codec, samples), and a moving picture where
    `video_seconds` says so."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        with av.open(str(path), "w", format=muxer, options=options or {}) as file:
            streams = [_stream(file, codec, samples, rate, layout) for codec, samples in tracks]
            for number, stream in enumerate(streams):
                if default is not None:
                    stream.disposition = int(number == default)
            packets = _picture(file, video_seconds) if video_seconds else []
            for stream, (_, samples) in zip(streams, tracks, strict=True):
                packets += _packets(stream, samples, rate, round(begin * rate))
            for packet in sorted(
                packets, key=lambda one: float((one.dts or one.pts or 0) * one.time_base)
            ):
                file.mux(packet)
        return path.read_bytes()


def _stream(file, codec, samples, rate, layout):  # type: ignore[no-untyped-def]
    return file.add_stream(
        codec,
        rate=rate,
        layout=layout or ("stereo" if len(samples) == 2 else "mono"),
        bit_rate=128_000,
        options={"strict": "-2"},
    )


def _packets(stream, samples, rate, shift):  # type: ignore[no-untyped-def]
    codec = stream.codec_context
    codec.open(strict=False)
    resampler = av.AudioResampler(codec.format, codec.layout, codec.rate, codec.frame_size or 1_024)
    packed = np.ascontiguousarray(samples.T).reshape(1, -1)
    whole = av.AudioFrame.from_ndarray(packed, "flt", codec.layout.name)
    whole.sample_rate, whole.pts, whole.time_base = rate, shift, Fraction(1, rate)
    packets = []
    for frame in [*resampler.resample(whole), *resampler.resample(None), None]:
        packets += stream.encode(frame)
    return packets


def _picture(file, seconds):  # type: ignore[no-untyped-def]
    stream = file.add_stream("libvpx" if file.format.name == "webm" else "mpeg4", rate=5)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    packets = []
    for number in range(round(seconds * 5)):
        frame = av.VideoFrame.from_ndarray(
            np.full((64, 64, 3), 37 * number % 256, np.uint8), "rgb24"
        ).reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 5)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def wav(samples: np.ndarray, data_size: int | None = None, rate: int = RATE) -> bytes:
    """A WAVE file of 16 bits whose size of the samples may lie."""
    body = (samples.T * 32767).astype("<i2").tobytes()
    align = 2 * len(samples)
    size = len(body) if data_size is None else data_size
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 1, len(samples), rate, rate * align, align, 16)
    return (
        b"RIFF"
        + struct.pack("<I", (size + 36) % 2**32)
        + b"WAVE"
        + head
        + b"data"
        + struct.pack("<I", size)
        + body
    )


def pages(content: bytes) -> list[bytearray]:
    """The pages of an Ogg file."""
    found, at = [], 0
    while content[at : at + 4] == b"OggS":
        segments = content[at + 26]
        size = 27 + segments + sum(content[at + 27 : at + 27 + segments])
        found.append(bytearray(content[at : at + size]))
        at += size
    return found


def joined(parts: list[bytearray]) -> bytes:
    """Pages as a file, with the checksums that they must have."""
    for page in parts:
        page[22:26] = struct.pack("<I", checksum(bytes(page)))
    return b"".join(parts)


def spoiled(content: bytes, size: int = 1, at: float = 0.5) -> bytes:
    """With `size` wrong bytes at a share of the file."""
    place = int(len(content) * at)
    return (
        content[:place]
        + bytes(byte ^ 0x5A for byte in content[place : place + size])
        + content[place + size :]
    )


def write(
    path: Path, samples: np.ndarray, rate: int, subtype: str | None = None, form: str | None = None
) -> Path:
    """Write float `[channels, n]`."""
    soundfile.write(path, samples.T, rate, subtype=subtype, format=form)
    return path


def failure(*args: object, **kwargs: object) -> RecordingError:
    """What reading a file fails with."""
    with pytest.raises(RecordingError) as caught:
        read_audio(*args, **kwargs)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    return caught.value
