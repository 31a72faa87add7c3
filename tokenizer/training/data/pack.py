"""A pack: a corpus decoded once, so that training steps read memory instead of decoding files.

    PACK/audio.i16     int16, little-endian, `[samples, channels]`, one recording after the other
    PACK/index.json    rate, channels, a row for each recording, checksums of the audio by blocks; a
                       pack without it does not exist

Samples are stored at half scale (32,767 is 2.0): lossy formats decode to values beyond full scale,
and a clipped copy of them would teach the model to clip.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import OutputError, RecordingError, ShapeError, SourceError
from tokenizer.sealing import seal, unseal
from tokenizer.training.data.sums import BLOCK, BlockSums, CheckedBlocks
from tokenizer.training.data.writing import alone, writing

AUDIO, INDEX = "audio.i16", "index.json"
VERSION = 1
FULL_SCALE = 2.0
"""the sample value that 32,767 stands for"""
KINDS = ("music", "speech", "other")
"""what the mixing strategies tell apart; they treat speech as one of the others"""


@dataclass(frozen=True, slots=True)
class PackedRecording:
    """One recording's place in a pack."""

    id: str
    kind: str
    """a row of `KINDS`"""
    start: int
    """first sample (per channel) in the audio file"""
    num_samples: int
    """per channel, at the pack's rate"""
    rms: float
    """over all channels; full scale is 1.0"""
    peak: float
    held_out: bool = False
    """never trained on; evaluation is made of these"""


class Pack:
    """A pack that is open: memory-mapped, read-only, safe to share between threads."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a pack.

        Raises:
            SourceError: there is no whole pack in the folder.
        """
        self.folder = Path(folder)
        index = _read_index(self.folder)
        try:
            self.sample_rate = int(index["sample_rate"])
            self.channels = int(index["channels"])
            self.made_from: dict[str, Any] = index["made_from"]
            """what the maker of the pack said about it"""
            self.recordings = tuple(PackedRecording(**row) for row in index["recordings"])
        except (KeyError, TypeError, ValueError) as error:  # of a pack from before checksums
            raise _damaged(self.folder, error) from error
        total = sum(recording.num_samples for recording in self.recordings)
        path = self.folder / AUDIO
        if not path.is_file() or path.stat().st_size != total * self.channels * 2:
            raise SourceError(
                f"pack {folder}: {AUDIO} is not of the length that {INDEX} says; make the pack "
                "again"
            )
        if not total:
            raise SourceError(f"pack {folder}: no audio in it")
        self._samples = np.memmap(path, dtype="<i2", mode="r", shape=(total, self.channels))
        self._blocks = self._checked(index.get("checksums"))

    def seconds(self, *, held_out: bool) -> float:
        """Audio that is held out, or trained on."""
        return (
            sum(r.num_samples for r in self.recordings if r.held_out == held_out) / self.sample_rate
        )

    def read(self, recording: PackedRecording, start: int, count: int) -> NDArray[np.float32]:
        """Samples `start` to `start + count` of a recording, float32 `[channels, count]`.

        Raises:
            ShapeError: they are not all within the recording.
            SourceError: the file is not what was written there.
        """
        if start < 0 or count < 0 or start + count > recording.num_samples:
            raise ShapeError(
                f"{recording.id}: no samples {start} to {start + count} among "
                f"{recording.num_samples}"
            )
        at = recording.start + start
        self._check(at, at + count)
        stored = self._samples[at : at + count].T
        return np.ascontiguousarray(stored, np.float32) * np.float32(FULL_SCALE / 32767)

    def _checked(self, sums: Any) -> CheckedBlocks | None:
        """Packs from before checksums have none."""
        if sums is None:
            return None
        if not isinstance(sums, list) or len(sums) != -(-self._samples.nbytes // BLOCK):
            raise _damaged(self.folder, ValueError("it has not a checksum for each block"))
        return CheckedBlocks(self._samples.reshape(-1).view(np.uint8), sums)

    def _check(self, begin: int, end: int) -> None:
        if self._blocks is None:
            return
        frame = self.channels * 2
        wrong = self._blocks.wrong(begin * frame, end * frame)
        if wrong is not None:
            raise SourceError(
                f"pack {self.folder}: {AUDIO} is damaged behind byte {wrong:,}; remove the pack, "
                "and it is made again"
            )


class PackWriter:
    """Writes a pack, one recording after the other, without holding one in memory.

    Use as a context manager: the pack exists once the block ends without an error, and audio is in
    it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sample_rate: int,
        channels: int,
        made_from: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a pack; `made_from` (JSON values) is kept with it.

        Raises:
            OutputError: there is a pack already, another process makes one, or the folder cannot
                be written.
        """
        self._made_from = dict(made_from or {})
        self.folder = Path(folder)
        if (self.folder / INDEX).exists():
            raise OutputError(
                f"pack {folder}: there is one already; remove it or give another folder"
            )
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:  # let go of at once when it is refused
            held.enter_context(alone(self.folder, f"pack {folder}"))
            with self._writing():
                self._file = (self.folder / (AUDIO + ".tmp")).open("wb")
            self._held = held.pop_all()
        self._sample_rate, self._channels = sample_rate, channels
        self._rows: list[PackedRecording] = []
        self._sums = BlockSums()
        self._written = 0

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            with suppress(OSError):  # of what was not written out, where the disk is full
                self._file.close()
            (self.folder / (AUDIO + ".tmp")).unlink(missing_ok=True)
            self._held.close()

    def add(
        self, name: str, kind: str, blocks: Iterable[NDArray[np.float32]], *, held_out: bool = False
    ) -> None:
        """Add a recording from blocks float32 `[channels, n]` at the pack's rate; one that fails
        leaves nothing behind.

        Raises:
            RecordingError: from the blocks.
            OutputError: the folder cannot be written.
        """
        if kind not in KINDS:
            raise ShapeError(f"{name}: kind {kind!r} is none of {', '.join(KINDS)}")
        count, energy, peak = 0, 0.0, 0.0
        place = self._sums.place()
        try:
            for block in blocks:
                if block.ndim != 2 or block.shape[0] != self._channels:
                    raise ShapeError(
                        f"{name}: a block must be [{self._channels}, n], not {list(block.shape)}"
                    )
                stored = np.clip(np.rint(block.T * (32767 / FULL_SCALE)), -32767, 32767)
                content = stored.astype("<i2").tobytes()
                with self._writing():
                    self._file.write(content)
                self._sums.add(content)
                count += block.shape[1]
                energy += float(np.square(block, dtype=np.float64).sum())
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
        except RecordingError:
            with self._writing():
                self._file.seek(self._written * self._channels * 2)
                self._file.truncate()
            self._sums.back(place)
            raise
        if count:
            rms = (energy / (count * self._channels)) ** 0.5
            self._rows.append(
                PackedRecording(name, kind, self._written, count, rms, peak, held_out)
            )
            self._written += count

    def _publish(self) -> None:
        if not self._written:
            raise SourceError(
                f"pack {self.folder}: no audio to put into it: every recording is left out, or has "
                "failed"
            )
        rows = [asdict(row) for row in self._rows]
        index = {
            "version": VERSION,
            "sample_rate": self._sample_rate,
            "channels": self._channels,
            "made_from": self._made_from,
            "checksums": self._sums.values(),
            "recordings": rows,
        }
        temporary = self.folder / (INDEX + ".tmp")
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            (self.folder / (AUDIO + ".tmp")).replace(self.folder / AUDIO)
            with temporary.open("wb") as file:
                file.write(seal(index))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / INDEX)

    def _writing(self) -> AbstractContextManager[None]:
        return writing(f"pack {self.folder}")


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = unseal((folder / INDEX).read_bytes(), required=False)
        version = index["version"]
        index.setdefault("made_from", {})
    except FileNotFoundError as error:
        raise SourceError(
            f"pack {folder}: no {INDEX} in it; a pack is made by `codecshards train-codec CORPUS "
            "RUN_DIR`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error
    if version != VERSION:
        raise SourceError(
            f"pack {folder}: version {version!r}, this is codecshards for version {VERSION}; make "
            "the pack again"
        )
    return index


def _damaged(folder: Path, error: Exception) -> SourceError:
    return SourceError(
        f"pack {folder}: its {INDEX} cannot be read ({error}); remove it, and the pack is made "
        "again"
    )
