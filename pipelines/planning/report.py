"""A dry run's findings, for people at 80 columns and for machines."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.output.config import TokenizeConfig
from pipelines.output.plans.placing import UNKNOWN_SECONDS
from pipelines.planning.corpus import about_channels
from pipelines.planning.estimate import Estimate
from pipelines.planning.lengths import each_bin, format_length
from pipelines.planning.survey import Part, Survey
from pipelines.system.words import format_duration, printable
from tokenizer.codecs.base import CodecSpec

WIDTH = 80
_NAME = 12
"""columns of what a line is about"""
_MOST = 6
"""languages and splits that are named, and sources"""


@dataclass(frozen=True, slots=True)
class Report:
    """All that `codecshards plan` says."""

    config: TokenizeConfig
    survey: Survey
    spec: CodecSpec | None
    estimate: Estimate

    def to_json(self) -> dict[str, Any]:
        """The same as one JSON object."""
        survey, estimate = self.survey, self.estimate
        return {
            "sources": [_part_json(part) for part in survey.parts.values()],
            "notes": [*survey.notes, *about_channels(self.config, self.spec)],
            "recordings": survey.recordings,
            "segments": survey.segments,
            "seconds": round(survey.lengths.seconds, 3),
            "hours": round(survey.lengths.seconds / 3600, 4),
            "lengths": self._lengths_json(),
            "text": {"recordings": survey.with_text, "characters": survey.characters},
            "speakers": {"recordings": survey.with_speaker, "distinct": len(survey.speakers)},
            "languages": {
                "recordings": survey.with_language,
                "distinct": len(survey.languages),
                "by_recordings": dict(survey.languages.most_common()),
            },
            "splits": dict(survey.splits.most_common()),
            "rejected": {
                "count": survey.rejected.total(),
                "by_kind": dict(sorted(survey.rejected.items())),
                "first": [
                    {"id": id, "kind": kind, "message": message}
                    for id, kind, message in survey.first_rejected
                ],
            },
            "shards": {
                "count": survey.shards,
                "format": self.config.format,
                "hours": self.config.shard_hours,
                "longest_seconds": round(survey.longest_shard, 3),
            },
            "codec": self._codec_json(),
            "codes": estimate.codes,
            "bytes": estimate.bytes,
            "time": {
                "seconds": None if estimate.seconds is None else round(estimate.seconds, 1),
                "x_real_time": None if estimate.speed is None else round(estimate.speed, 2),
                "cores": estimate.cores,
                "basis": estimate.basis,
            },
        }

    def lines(self, width: int = WIDTH, *, ascii_only: bool = False) -> Iterator[str]:
        """The same for people."""
        yield from self._corpus(width)
        if self.survey.lengths.count:
            yield ""
            for line in self.survey.lengths.lines(width - 2, ascii_only=ascii_only):
                yield f"  {line}"
        yield ""
        yield from self._output(width)
        if self.survey.rejected:
            yield ""
            yield from self._rejected(width)

    def _lengths_json(self) -> dict[str, Any]:
        survey = self.survey
        return {
            "known": survey.stated,
            "from_headers": survey.from_headers,
            "estimated_from_headers": survey.estimated,
            "from_size": survey.guessed,
            "unknown": survey.assumed,
            "assumed_seconds": UNKNOWN_SECONDS,
            "shortest": survey.lengths.shortest,
            "mean": survey.lengths.mean,
            "longest": survey.lengths.longest,
            "histogram": list(each_bin(survey.lengths)),
        }

    def _codec_json(self) -> dict[str, Any]:
        known: dict[str, Any] = {"name": self.config.codec, "bandwidth": self.config.bandwidth}
        if self.spec is not None:
            known |= {
                "bandwidth": self.spec.bandwidth,
                "codebooks": self.spec.n_q,
                "codebook_size": self.spec.codebook_size,
                "sample_rate": self.spec.sample_rate,
                "channels": self.spec.channels,
            }
        return known

    def _corpus(self, width: int) -> Iterator[str]:
        survey = self.survey
        parts = list(survey.parts.values())
        for part in parts[:_MOST]:
            yield from _line("source", _part_line(part, len(parts) > 1), width)
        if parts[_MOST:]:
            yield from _line("", f"… and {len(parts) - _MOST:,} more sources", width)
        segments = f", {survey.segments:,} of them segments of files" if survey.segments else ""
        yield from _line("recordings", f"{survey.recordings:,}{segments}", width)
        yield from _line("audio", _audio(survey), width)
        yield from _line("text", _text(survey), width)
        yield from _line(
            "speakers", _coverage(survey, len(survey.speakers), survey.with_speaker), width
        )
        named = _coverage(survey, len(survey.languages), survey.with_language)
        yield from _line("languages", named + _named(survey.languages), width)
        if survey.splits:
            yield from _line("splits", _named(survey.splits).removeprefix(": "), width)
        if survey.rejected:
            counted = (
                f"{survey.rejected.total():,} (below): they would be failures, each with its reason"
            )
            yield from _line("rejected", counted, width)
        for note in (*survey.notes, *about_channels(self.config, self.spec)):
            yield from _line("note", note, width)

    def _output(self, width: int) -> Iterator[str]:
        config, survey, estimate = self.config, self.survey, self.estimate
        yield from _line("codec", _codec(config, self.spec), width)
        shards = (
            f"{survey.shards:,} {config.format} of {config.shard_hours:g} h at most"
            f"{_overlong(survey, config)}"
        )
        yield from _line("shards", shards, width)
        if estimate.codes is None:
            yield from _line("codes", estimate.basis, width)
            return
        size = "" if estimate.bytes is None else f", about {_size(estimate.bytes)} in all"
        yield from _line("codes", f"{estimate.codes:,}{size}", width)
        if estimate.seconds is None:
            yield from _line("time", estimate.basis, width)
            return
        cores = f"{estimate.cores} core{'' if estimate.cores == 1 else 's'}"
        speed = "" if estimate.speed is None else f", {estimate.speed:,.3g} x real time"
        about = f"about {format_duration(max(1.0, estimate.seconds))} on {cores}{speed}"
        yield from _line("time", f"{about}, {estimate.basis}", width)

    def _rejected(self, width: int) -> Iterator[str]:
        survey = self.survey
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(survey.rejected.items()))
        yield from _line("rejected", kinds, width)
        for _, _, message in survey.first_rejected:
            yield from _line("", message, width)
        more = survey.rejected.total() - len(survey.first_rejected)
        if more:
            yield from _line("", f"… and {more:,} more", width)


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "address": part.address,
        "label": part.label or None,
        "kind": part.kind,
        "layout": part.layout or None,
        "recordings": part.recordings,
        "seconds": round(part.seconds, 3),
    }


def _part_line(part: Part, among_others: bool) -> str:
    counted = f": {_many(part.recordings, 'recording')}, {_amount(part.seconds)}"
    return f"{part.address} ({part.title}){counted if among_others else ''}"


def _audio(survey: Survey) -> str:
    lengths = survey.lengths
    if lengths.shortest is None or lengths.longest is None or lengths.mean is None:
        return "none that could be used"
    how = {
        "known": survey.stated,
        "from headers": survey.from_headers,
        "estimated from headers": survey.estimated,
        "estimated from file sizes": survey.guessed,
        f"unknown and taken for {UNKNOWN_SECONDS:g} s": survey.assumed,
    }
    said = [(what, count) for what, count in how.items() if count]
    one = len(said) == 1
    sure = "lengths " + ", ".join(what if one else f"{what} for {n:,}" for what, n in said)
    spread = (
        f"{format_length(lengths.shortest)} to {format_length(lengths.longest)}, "
        f"{format_length(lengths.mean)} on average"
    )
    sure_of = survey.stated + survey.from_headers
    about = "" if sure_of == survey.recordings else "about "
    return f"{about}{_amount(lengths.seconds)}: {spread} ({sure})"


def _text(survey: Survey) -> str:
    if not survey.with_text:
        return "none"
    return f"{_share(survey.with_text, survey.recordings)}, {survey.characters:,} characters"


def _coverage(survey: Survey, distinct: int, covered: int) -> str:
    if not covered:
        return "none named"
    return f"{distinct:,}, named for {_share(covered, survey.recordings)}"


def _share(part: int, whole: int) -> str:
    if part == whole:
        return f"all {whole:,}" if whole > 1 else "the one"
    share = 100 * part / whole
    return f"{part:,} of {whole:,} ({'<0.1' if share < 0.1 else f'{min(share, 99.9):.1f}'}%)"


def _named(counts: Counter[str]) -> str:
    if not counts:
        return ""
    shown = [f"{name} {count:,}" for name, count in counts.most_common(_MOST)]
    more = len(counts) - _MOST
    return ": " + ", ".join(shown + ([f"{more:,} more"] if more > 0 else []))


def _codec(config: TokenizeConfig, spec: CodecSpec | None) -> str:
    if spec is not None:
        return f"{config.codec}, {spec.describe()}"
    if config.bandwidth is not None:
        return f"{config.codec}, {config.bandwidth:g} kbps"
    return config.codec if config.n_q is None else f"{config.codec}, {config.n_q} codebooks"


def _overlong(survey: Survey, config: TokenizeConfig) -> str:
    if survey.longest_shard <= config.shard_hours * 3600:
        return ""
    return f"; the longest is one recording of {_amount(survey.longest_shard)}"


def _amount(seconds: float) -> str:
    """Audio time; `1.18 h`, `3.5 min`, `12 s`."""
    return f"{seconds / 3600:,.2f} h" if seconds >= 3600 else format_length(seconds)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _line(name: str, text: str, width: int) -> Iterator[str]:
    """What a line is about, and the text beside it, which goes on in the same column."""
    return iter(
        textwrap.wrap(
            printable(text).replace("\n", " "),
            width,
            initial_indent=f"{name:<{_NAME}}",
            subsequent_indent=" " * _NAME,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
