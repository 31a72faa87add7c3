"""One recording back to audio, from the shard that holds it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipelines.output.bare.shards import bare_shards, counted_rows, without_manifest
from pipelines.output.formats import shard_format
from pipelines.output.formats.lost import lost_frames, silenced
from pipelines.output.formats.parquet.unverified import UNKNOWN
from pipelines.output.formats.schema import Row, encode_meta
from pipelines.output.manifest.commits import Manifest
from pipelines.output.storage import Storage, open_storage
from pipelines.system.devices import require_device
from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.codecs.flow.decoding import finite
from tokenizer.errors import CodecLoadError, OutputError, UsageError, why_unwritten

_SUBTYPES = {"WAV": "FLOAT", "FLAC": "PCM_24", "AIFF": "PCM_24"}
"""float WAV keeps what a codec decodes beyond full scale; other formats have their own default"""
_UNFIT = frozenset({"RAW", "HTK", "SDS", "SVX", "VOC", "WVE", "XI"})
"""formats that say no rate, or only some"""
LARGEST_WAV = (1 << 32) - (1 << 20)
"""bytes of samples that a RIFF header can tell of; beyond them a `.wav` is RF64 (EBU Tech 3306),
which players read as well"""


@dataclass(frozen=True, slots=True)
class Written:
    """An audio file that was written."""

    num_samples: int
    sample_rate: int

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


def find_row(out: str, id: str) -> Row:
    """The row of one recording.

    Raises:
        OutputError, UsageError, ShardError: as `find_coded`.
    """
    return find_coded(out, id)[0]


def find_coded(out: str, id: str) -> tuple[Row, CodecSpec]:
    """The row of one recording, and the codec of its codes.

    Raises:
        OutputError: not an output of `tokenize`.
        UsageError: no such recording, one that failed (with the reason), or one whose shard is not
            done yet.
        ShardError: its shard is damaged.
    """
    storage = open_storage(out)
    if without_manifest(storage):
        return _find_bare(storage, out, id)
    manifest = Manifest(storage)
    stored = manifest.require_config()
    form = shard_format(stored.config.format)
    held = manifest.read_plans().holding([id])
    if not held:
        raise UsageError(f"{out} has no recording {id!r}")
    shard = manifest.planned_names()[held.pop()]
    try:
        record = manifest.record(shard)
    except FileNotFoundError as error:
        raise UsageError(
            f"{id!r} is in shard {shard}, which is not done yet: run `codecshards tokenize` again"
        ) from error
    for failure in record.failures:
        if failure.id == id:
            raise UsageError(f"{id!r} was not tokenized ({failure.kind}): {failure.message}")
    name = manifest.place_of(record, form)
    try:
        with storage.open(name) as file:
            row = form.read_one(file, f"{out}/{name}", id)
    except FileNotFoundError as error:
        raise UsageError(
            f"{out}/{name} is missing: `codecshards verify {out}` tells more"
        ) from error
    if row is None:
        raise UsageError(
            f"{id!r} is missing from {out}/{name}: `codecshards verify {out}` tells more"
        )
    return row, stored.codec


def _find_bare(storage: Storage, out: str, id: str) -> tuple[Row, CodecSpec]:
    """The same of shards without a manifest: each is asked for the id."""
    for shard in bare_shards(storage):
        with storage.open(shard.place) as file:
            row = shard_format(shard.format).read_one(file, f"{out}/{shard.place}", id)
        if row is not None:
            return row, counted_rows(storage, [shard])[0][1]
    raise UsageError(f"{out} has no recording {id!r}")


def decode_recording(
    out: str, id: str, output: str, *, codec: str | None = None, device: str = "auto"
) -> Written:
    """Decode one recording to an audio file, exactly as long as the original at the codec's rate.

    Args:
        out: output folder of `tokenize`.
        id: the recording's id.
        output: file to write; its ending says the format.
        codec: where the codec lies now; None is where it lay then. Its weights must be the same.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: see `find_row`; a codec of other weights; a format that cannot be written.
        OutputError: a place that cannot be written.
        ShardError: the shard is damaged.
    """
    require_device(device)
    row, spec = find_coded(out, id)
    require_place(output)
    samples = row.codes.num_samples
    _format(Path(output), Blocks(iter(()), samples, spec.sample_rate, spec.channels))
    loaded = load_same_codec(spec, codec, device, of=out)
    lost = lost_frames(encode_meta(row.meta))
    decoded = map(finite, loaded.decode_stream(row.codes))
    blocks = silenced(decoded, row.codes, lost, loaded.spec.layout)
    sound = Blocks(blocks, row.codes.num_samples, loaded.sample_rate, loaded.channels)
    write_blocks(output, sound)
    return Written(row.codes.num_samples, loaded.sample_rate)


def load_same_codec(
    spec: CodecSpec,
    codec: str | None,
    device: str,
    threads: int | None = None,
    of: str = "these codes",
) -> Codec:
    """The codec that wrote codes, from where it lies now.

    Args:
        spec: what the codes' folder says of it.
        codec: where it lies now; None is where it lay then.
        device: "auto", "cpu" or "cuda".
        threads: for torch; None is as it is.
        of: what it wrote, for what is said of it.

    Raises:
        CodecLoadError: there is none, or it has other weights.
        UsageError: nothing says which it was, and `codec` does not either.
    """
    from tokenizer.codecs.registry import load_codec, stored_amount

    if spec.codec == UNKNOWN and codec is None:
        raise UsageError(
            f"no footer says which codec wrote {of} ({spec.n_q} codebooks at {spec.sample_rate} "
            "Hz): give --codec"
        )
    bandwidth, n_q = stored_amount(spec, codec)
    loaded = load_codec(
        codec or spec.codec,
        bandwidth=bandwidth,
        n_q=n_q,
        device=device,
        revision=spec.revision if codec is None else None,
        threads=threads,
    )
    if spec.weights_sha256 not in (UNKNOWN, loaded.spec.weights_sha256):
        raise CodecLoadError(
            f"codec {loaded.spec.codec} has other weights than the one that wrote {of}"
        )
    return loaded


@dataclass(frozen=True, slots=True)
class Blocks:
    """A waveform that comes block by block."""

    blocks: Iterator[NDArray[np.float32]]
    """each `[channels, n]`"""
    num_samples: int
    """of all"""
    sample_rate: int
    channels: int


def write_blocks(output: str, sound: Blocks, temporary: Path | None = None) -> None:
    """Write blocks to a file under a temporary name (None is one beside it), and give it its own
    once it is whole.

    Raises:
        UsageError: a format that cannot be written.
        OutputError: the file cannot be written.
    """
    target = Path(output)
    form, subtype = _format(target, sound)
    require_place(output)
    if temporary is None:
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with soundfile.SoundFile(
            temporary, "w", sound.sample_rate, sound.channels, subtype, format=form
        ) as file:
            for block in sound.blocks:
                # libsndfile crashes when it is given a minute or more of Vorbis at once.
                for start in range(0, block.shape[1], sound.sample_rate):
                    file.write(block[:, start : start + sound.sample_rate].T)
        if form == "WAV":
            _forget_when(temporary)
        temporary.replace(target)
    except (soundfile.LibsndfileError, OSError) as error:
        raise OutputError(f"{output} cannot be written: {why_unwritten(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _forget_when(path: Path) -> None:
    """Take the time of day out of a WAV's PEAK chunk, where libsndfile puts it: the same codes make
    the same file whenever they are decoded."""
    with path.open("r+b") as file:
        at = 12
        while (head := _read_at(file, at, 8))[:4] not in (b"data", b""):
            if head[:4] == b"PEAK":  # version, then the time, uint32
                file.seek(at + 12)
                file.write(bytes(4))
            at += 8 + int.from_bytes(head[4:], "little")


def _read_at(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def require_place(output: str) -> None:
    """
    Raises:
        OutputError: there is no folder for a file, it may not be written to, or the file is a
            folder.
    """
    target = Path(output)
    if not target.parent.is_dir():
        what = f"there is no folder {target.parent}"
    elif target.is_dir():
        what = "it is a folder"
    elif not os.access(target.parent, os.W_OK | os.X_OK):
        what = f"the folder {target.parent} is not yours to write to"
    else:
        return
    raise OutputError(f"{output} cannot be written: {what}")


def require_writable(ending: str, sample_rate: int, channels: int) -> None:
    """
    Raises:
        UsageError: a format, by its ending, that has no room for such audio.
    """
    rates = (8_000, 12_000, 16_000, 24_000, 48_000)
    if ending == ".opus" and (sample_rate not in rates or channels > 2):
        raise UsageError(
            f"Opus holds one or two channels at {', '.join(f'{rate:,}' for rate in rates)} Hz, not "
            f"{channels} at {sample_rate:,}: use flac or wav"
        )


def _format(target: Path, sound: Blocks) -> tuple[str, str | None]:
    """libsndfile's names for a file's format, by its ending, and for its samples."""
    form = target.suffix.lstrip(".").upper()
    form = {"AIF": "AIFF", "OGA": "OGG", "OPUS": "OGG"}.get(form, form)
    if form not in soundfile.available_formats() or form in _UNFIT:
        raise UsageError(
            f"{target}: cannot write {target.suffix or 'a file without an ending'}: use .wav, "
            ".flac, .ogg or .mp3"
        )
    require_writable(target.suffix.lower(), sound.sample_rate, sound.channels)
    subtype = "OPUS" if target.suffix.lower() == ".opus" else _SUBTYPES.get(form)
    if form == "WAV" and sound.num_samples * sound.channels * np.float32().nbytes > LARGEST_WAV:
        form = "RF64"
    return form, subtype
