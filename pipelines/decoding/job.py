"""One recording to decode, and what becomes of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from pipelines.output.export_audio import Blocks, load_same_codec, write_blocks
from pipelines.output.formats.lost import Span, silenced
from tokenizer.codecs.base import Codec, CodecSpec
from tokenizer.codecs.flow.decoding import finite
from tokenizer.errors import OutputError, UsageError
from tokenizer.types import Codes

Result = tuple[int, str | None]
"""bytes of the file, or 0 and why there is none"""


@dataclass(frozen=True, slots=True)
class Loading:
    """How a process gets its codec."""

    spec: CodecSpec
    codec: str | None
    device: str
    threads: int | None

    def load(self) -> Codec:
        return load_same_codec(self.spec, self.codec, self.device, self.threads)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One recording to decode."""

    key: str
    codes: Codes
    target: Path
    temporary: Path
    """folder on the same file system"""
    lost: tuple[Span, ...] = ()
    """frames that are lacking"""


@dataclass(frozen=True, slots=True)
class Done:
    """What has become of a job: a file of so many bytes, or why there is none."""

    job: Job
    bytes: int = 0
    failure: str | None = None


def result_of(codec: Codec, job: Job) -> Result:
    """Bytes of the file, or 0 and why there is none. What would befall every recording is
    raised."""
    codes = job.codes
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        sound = silenced(
            map(finite, codec.decode_stream(codes)), codes, job.lost, codec.spec.layout
        )
        blocks = Blocks(sound, codes.num_samples, codec.sample_rate, codec.channels)
        write_blocks(str(job.target), blocks, job.temporary / f"{uuid.uuid4().hex}.tmp")
        return job.target.stat().st_size, None
    except OSError as error:
        raise OutputError(f"{job.target} cannot be written: {error.strerror or error}") from error
    except UsageError:
        raise
    except Exception as error:  # whatever a codec raises is this recording's failure
        return 0, " ".join(str(error).split()) or type(error).__name__
