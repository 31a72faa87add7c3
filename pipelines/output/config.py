"""What a run was asked to do: one frozen value that decides every code and every file name.

`TokenizeConfig` is what is stored beside the shards and compared on resume. `RunOptions` only says
how fast and where; changing it never changes a row.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pipelines.output.formats import SHARD_FORMATS, format_names
from pipelines.system.compute import Compute
from pipelines.system.settings import setting, settle, shared
from tokenizer.audio.quality import NONE, chosen
from tokenizer.codecs.amounts import is_number, is_whole
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.lookup import codec_name
from tokenizer.codecs.precision import PRECISIONS
from tokenizer.cuts import CUT_KINDS, DEFAULT_LEAST, DEFAULT_MOST, DEFAULT_PAD, FIXED, CutRule
from tokenizer.errors import FailureKind, UsageError
from tokenizer.types import CHANNEL_CHOICES


@dataclass(frozen=True, slots=True)
class TokenizeConfig:
    """Source, codec, layout and policies of one output folder. A field without a default is an
    argument of the command by its place."""

    source: str | tuple[str, ...]
    """as `pipelines.corpus.sources.open_source` reads it; several are one corpus"""
    codec: str = setting(
        "facebook/encodec_48khz",
        "hub id, save_pretrained folder, or a codec that ships with the package (default: "
        "%(default)s)",
    )
    revision: str | None = setting(None, "hub commit, tag or branch to pin")
    bandwidth: float | None = setting(
        None, "default: 6 where the codec offers it, else all of its codebooks", metavar="KBPS"
    )
    n_q: int | None = setting(None, "number of codebooks, instead of a bandwidth", metavar="N")
    format: str = setting("parquet", "parquet or webdataset (default: %(default)s)")
    """one of `pipelines.output.formats.format_names`"""
    shard_hours: float = setting(2.0, "audio a shard (default: %(default)s)", metavar="H")
    """as it is planned: lengths are estimated"""
    split: str | None = setting(
        None,
        "one split of all, which shards are named by (default: the splits that the corpus has, or "
        "train)",
        metavar="NAME",
    )
    """None where recordings have the splits that they say they are of"""
    downmix: bool = setting(False, "mix more than two channels down instead of failing")
    """as ITU-R BS.775 does"""
    channels: str | None = setting(
        None,
        "mix (to mono), left, right, or split (a row for each channel) (default: all of a "
        "recording's)",
        metavar="WHICH",
    )
    """one of `tokenizer.types.CHANNEL_CHOICES`"""
    stream: int | None = setting(
        None,
        "track of sound in files with several, from 0 (default: as the file says)",
        metavar="N",
    )
    allow_truncated: bool = setting(False, "keep what is there of files that end early")
    """flagged in `meta`"""
    follow_links: bool = setting(
        False, "read also what links and paths in the data lead to outside of SOURCE"
    )
    """False makes them failures"""
    allow_damaged: bool = setting(
        False, "keep files in which something is missing, with silence there, noted in meta"
    )
    max_chunk_seconds: float = setting(
        300.0,
        "longest recording for a codec that takes recordings whole; others take any length "
        "(default: %(default)s)",
        metavar="S",
    )
    precision: str = setting(
        "exact",
        "exact, or on GPUs fast: TF32 but for the quantizer; changes some codes, says how "
        "many (default: %(default)s)",
    )
    """a row of `tokenizer.codecs.precision.PRECISIONS`; not in `RunOptions`, since it has a say in
    the codes"""
    layout: str | None = setting(
        None,
        "take SOURCE for this layout (ljspeech, librispeech, libritts, vctk, commonvoice, "
        "audiofolder, kaldi, nemo, nemotarred, lhotse, shar, moshi, fma, jamendo, ytdlp, stems), "
        "or for none: folder (default: as recognised)",
        metavar="NAME",
    )
    """a row of `pipelines.corpus.layouts.LAYOUTS`"""
    layout_split: str | None = setting(None, "one split of a layout (default: all)", metavar="NAME")
    map: str | None = setting(
        None,
        "columns of a table: path, id, text, speaker, language, start, end, duration; numbers from "
        "1 where it has no header",
        metavar="FIELD=COLUMN,...",
    )
    audio_root: str | None = setting(
        None, "where relative paths of a table begin", metavar="FOLDER"
    )
    delimiter: str | None = setting(
        None, "of a table: a character, tab, comma, semicolon, pipe", metavar="CHAR"
    )
    encoding: str | None = setting(
        None,
        "of tables and transcripts: cp1252, latin-1, shift_jis … (default: UTF-8, or what a byte "
        "order mark says)",
        metavar="NAME",
    )

    tags: bool = setting(
        False, "carry what files are tagged with (artist, title, album, genre …) as meta.tags"
    )
    """`tokenizer.audio.tags`"""
    quality: str = setting(
        NONE,
        "columns that say how good a recording is, measured as it is read: basic, which is all of "
        "these, or some of loudness, peak, dc_offset, bandwidth, snr, silence, clipping, "
        "correlation (default: %(default)s)",
        metavar="NAME,...",
    )
    """names of `tokenizer.audio.quality`, spelled out and in order, or "none" """
    keep: str | None = setting(
        None,
        'keep only recordings of which this is true, as in "bandwidth > 7000 and clipping < '
        '0.001": SQL over the columns of a row, and seconds; the others are no failures',
        metavar="EXPR",
    )
    """`pipelines.output.quality.keep`"""

    cut: str | None = setting(
        None,
        "cut recordings of over --cut-max into segments: silence (in pauses, by level), vad "
        "(around speech, by Silero's VAD: pip install silero-vad), fixed (at equal "
        "lengths) (default: no)",
        metavar="HOW",
    )
    """one of `tokenizer.cuts.CUT_KINDS`"""
    cut_max: float | None = setting(
        None, f"longest segment, in seconds (default: {DEFAULT_MOST:g})", metavar="S"
    )
    cut_min: float | None = setting(
        None, f"shortest segment, in seconds (default: {DEFAULT_LEAST:g})", metavar="S"
    )
    cut_pad: float | None = setting(
        None,
        f"silence that is kept on both sides of a segment, in seconds (default: {DEFAULT_PAD:g}; "
        "not for fixed)",
        metavar="S",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "codec", codec_name(self.codec))
        object.__setattr__(self, "source", _one_or_several(self.source))
        self._check_amount()
        settle(self)
        if self.format not in SHARD_FORMATS and self.format not in format_names():
            raise UsageError(
                f"--format {self.format}: choose one of {', '.join(sorted(format_names()))}"
            )
        if not 0 < self.shard_hours <= 1000:
            raise UsageError(
                f"--shard-hours {self.shard_hours}: give a number above 0 and at most 1000"
            )
        if self.channels not in (None, *CHANNEL_CHOICES):
            raise UsageError(
                f"--channels {self.channels}: choose one of {', '.join(CHANNEL_CHOICES)}"
            )
        if self.stream is not None and self.stream < 0:
            raise UsageError(f"--stream {self.stream}: give 0 or more")
        if self.split is not None and not re.fullmatch(r"\w+", self.split):
            raise UsageError(
                f"--split {self.split!r}: use letters, digits and underscores, as the Hub does"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision}: choose one of {', '.join(PRECISIONS)}")
        if not self.max_chunk_seconds > 0:
            raise UsageError(f"--max-chunk-seconds {self.max_chunk_seconds}: give seconds above 0")
        object.__setattr__(self, "quality", ",".join(chosen(self.quality)) or NONE)
        if self.keep is not None and not self.keep.strip():
            raise UsageError("--keep is empty: give a condition, or leave it out")
        self._settle_cut()

    def _check_amount(self) -> None:
        kbps = self.bandwidth
        if kbps is not None and not (is_number(kbps) and 0 < kbps < math.inf):
            raise UsageError(f"--bandwidth {self.bandwidth!r}: give kbps above 0")
        if self.n_q is not None:
            if not is_whole(self.n_q) or self.n_q < 1:
                raise UsageError(f"--n-q {self.n_q!r}: give a number of codebooks, 1 or more")
            object.__setattr__(self, "n_q", int(self.n_q))
        if self.bandwidth is not None and self.n_q is not None:
            raise UsageError(
                f"--bandwidth {self.bandwidth:g}, --n-q {self.n_q}: both say how many codebooks; "
                "give one of them"
            )

    def _settle_cut(self) -> None:
        """What is left out is what it is by default: the same setting however it was said."""
        given = {name: getattr(self, f"cut_{name}") for name in ("min", "max", "pad")}
        if self.cut is None:
            for name, value in given.items():
                if value is not None:
                    raise UsageError(
                        f"--cut-{name} {value:g}: give also --cut, one of {', '.join(CUT_KINDS)}"
                    )
            return
        if self.cut == FIXED and given["pad"] is not None:
            raise UsageError("--cut-pad: --cut fixed has no padding; silence and vad have")
        rule = self._cut_rule(self.cut)
        object.__setattr__(self, "cut_min", rule.least)
        object.__setattr__(self, "cut_max", rule.most)
        object.__setattr__(self, "cut_pad", None if self.cut == FIXED else rule.pad)

    @property
    def cut_rule(self) -> CutRule | None:
        """What long recordings are cut into; None leaves them whole."""
        if self.cut is None:
            return None
        return self._cut_rule(self.cut)

    def _cut_rule(self, kind: str) -> CutRule:
        return CutRule.of(kind, self.cut_min, self.cut_max, 0.0 if kind == FIXED else self.cut_pad)

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns of quality, in their order."""
        return chosen(self.quality)

    @property
    def sources(self) -> tuple[str, ...]:
        """All of them, also where it is one."""
        return (self.source,) if isinstance(self.source, str) else self.source

    def named_sources(self, most: int = 8) -> list[str]:
        """The same for people, who need not see all of a thousand."""
        shown = list(self.sources[:most])
        more = len(self.sources) - most
        return [*shown, f"… and {more:,} more"] if more > 0 else shown

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TokenizeConfig:
        """The inverse of `to_dict`; fields of other versions are a `UsageError`."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(
                f"configuration has unknown settings ({', '.join(unknown)}): written by another "
                "version of codecshards"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"configuration cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run: never changes what is written."""

    workers: int | None = shared(Compute, "workers")
    gpus: int | None = shared(Compute, "gpus", help="GPUs to use, one encoder each (default: all)")
    address: str | None = shared(Compute, "address")
    device: str = shared(Compute, "device")
    max_failures: int | None = setting(
        None, "stop when more than N recordings have failed", metavar="N"
    )
    decode_timeout: float = shared(Compute, "decode_timeout")
    reference: bool = setting(
        False, "compute with transformers' own modules: the same codes, slower"
    )
    quiet: bool = shared(Compute, "quiet")
    audit: float | None = setting(
        None,
        "audit this share of the recordings in passing, and report: 0.01 is 1%%",
        metavar="SHARE",
    )

    append: bool = setting(False, "when all is committed, do what is new in SOURCE, in new shards")
    retry_failed: tuple[str, ...] | None = setting(
        None,
        "when all is committed, try recordings that failed again, in new shards: these kinds, as "
        "`inspect` counts them, or those that may be mended",
        metavar="KIND",
        optional=True,
    )
    """() is those of `tokenizer.errors.MENDABLE`"""
    part: str | None = setting(
        None,
        "do every Nth shard, from the Kth on; N jobs with 1/N to N/N, in any order, do all",
        metavar="K/N",
    )

    moved: tuple[str, ...] = setting(
        (),
        "if the corpus has moved since the first run: how its names began, and how they begin now; "
        "rows have the names of then",
        metavar="OLD=NEW",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # torch has names of its own class
        settle(self)
        Compute.of(self)
        self.parts  # noqa: B018  (says what is wrong with it)
        if self.append and self.retry_failed is not None:
            raise UsageError("--append, --retry-failed: one at a time; run the other afterwards")
        for kind in self.retry_failed or ():
            never = (FailureKind.FILTERED, FailureKind.DROPPED)
            if kind not in set(FailureKind) - {*never}:
                kinds = ", ".join(one for one in FailureKind if one not in never)
                raise UsageError(f"--retry-failed {kind}: choose of {kinds}")
        if self.max_failures is not None and self.max_failures < 0:
            raise UsageError(f"--max-failures {self.max_failures}: give 0 or more")
        if self.audit is not None and not 0 < self.audit <= 1:
            raise UsageError(f"--audit {self.audit}: give a share above 0 and at most 1")

    @property
    def compute(self) -> Compute:
        """The part that an audit has too."""
        return Compute.of(self)

    @property
    def parts(self) -> tuple[int, int]:
        """Which part of how many, from 1.

        Raises:
            UsageError: there is no such part.
        """
        if self.part is None:
            return 1, 1
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", self.part)
        part, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= part <= of:
            raise UsageError(f"--part {self.part}: give K/N, as in 1/16 to 16/16")
        return part, of

    @property
    def grows(self) -> bool:
        """Whether it adds shards to what is committed."""
        return self.append or self.retry_failed is not None


def _one_or_several(source: Any) -> str | tuple[str, ...]:
    """A SOURCE as it is stored: of one in a list, that one.

    Raises:
        UsageError: none at all, or what is no name.
    """
    given = list(source) if isinstance(source, list | tuple) else [source]
    try:
        found = tuple(os.fspath(each) for each in given)
    except TypeError as error:
        raise UsageError(f"SOURCE {source!r}: give a path or URL, or a list of them") from error
    if not found or not all(isinstance(each, str) and each for each in found):
        raise UsageError("SOURCE is empty: give a folder, a file, or what else names a corpus")
    return found[0] if len(found) == 1 else found


def spec_from_dict(values: Mapping[str, Any]) -> CodecSpec:
    """The `CodecSpec` of a stored form; a `UsageError` where it lacks something."""
    known = {f.name for f in fields(CodecSpec)}
    found: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for name, value in values.items()
        if name in known
    }
    try:
        return CodecSpec(**found)
    except TypeError as error:
        raise UsageError(f"description of a codec cannot be read: {error}") from error


def with_device(spec: CodecSpec, device: str) -> CodecSpec:
    """The same codec as it runs on another kind of device; weight-free codecs stay as they are."""
    return spec if spec.device == "none" else replace(spec, device=device)
