"""`OUT/manifest/config.json`: what the first run on a folder wrote down, and what makes two runs
the same.

    config    `TokenizeConfig`: what was asked for
    codec     `CodecSpec`: what the codec was
    version   of codecshards
    plan      `PlanFacts`: which plan belongs to it
    derived   of a folder that `filter`, `split`, `merge` or `reshard` made: the command, and the
              folders that it was made from

A setting that this version does not know is kept, and counts: its folder can be read, and is not
gone on with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from shlex import quote
from typing import Any, ClassVar

from pipelines.output.config import TokenizeConfig, spec_from_dict
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import UsageError

FACTS_OF_THE_MACHINE = frozenset({"device", "revision", "codec"})
"""Fields of a `CodecSpec` that may differ between two runs over the same folder: the weights' hash
says it all."""
UNSAID = {
    "codec.precision": "exact",
    "codec.codebook_sizes": None,
    "codec.level_repeats": None,
    "codec.window_length": None,
    "codec.window_context": None,
    "config.n_q": None,
    "config.allow_damaged": False,
    "config.follow_links": False,
    "config.channels": None,
    "config.stream": None,
    "config.layout": None,
    "config.layout_split": None,
    "config.map": None,
    "config.audio_root": None,
    "config.delimiter": None,
    "config.encoding": None,
    "config.tags": False,
    "config.quality": "none",
    "config.keep": None,
    "config.cut": None,
    "config.cut_max": None,
    "config.cut_min": None,
    "config.cut_pad": None,
}
"""Settings that came later, and what they are where a stored run does not have them. At that value
they are left out of what is hashed and compared, so that folders from before go on."""
_SHOWN = 5
_SAID_BY_THE_CODEC = ("config.codec", "config.revision", "config.precision", "config.n_q")
"""A checkpoint may lie in another folder next time, or be given by another name: its weights are
what matters."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the configuration says of the plan."""

    sha256: str
    """of the plan's file"""
    split: str
    shards: int
    recordings: int
    splits: tuple[tuple[str, int], ...] = ()
    """each split and the number of its shards, where there are several"""

    @property
    def named_splits(self) -> tuple[tuple[str, int], ...]:
        """The same also where there is one."""
        return self.splits or ((self.split, self.shards),)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PlanFacts:
        """The inverse of `to_json`."""
        splits = tuple((str(name), int(count)) for name, count in values.get("splits", ()))
        return cls(**{**values, "splits": splits})

    def to_json(self) -> dict[str, Any]:
        """The JSON object that is written: as it was before there were several splits, where there
        is one."""
        values = asdict(self)
        if not self.splits:
            del values["splits"]
        return values


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The content of `config.json`."""

    config: TokenizeConfig
    codec: CodecSpec
    version: str
    plan: PlanFacts | None = None
    """None before there is one"""
    derived: Mapping[str, Any] | None = None
    """how it was made from other output folders; None where a corpus was tokenized"""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """what other versions wrote: `config.NAME` or `codec.NAME` to its value"""

    _PARTS: ClassVar[Mapping[str, type]] = {"config": TokenizeConfig, "codec": CodecSpec}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StoredRun:
        """The inverse of `to_json`.

        Raises:
            UsageError: not a stored run, or with settings that cannot be.
        """
        try:
            known: dict[str, dict[str, Any]] = {}
            unknown: dict[str, Any] = {}
            for part, kind in cls._PARTS.items():
                names = {one.name for one in fields(kind)}
                unsaid = {k: UNSAID[f"{part}.{k}"] for k in names if f"{part}.{k}" in UNSAID}
                known[part] = unsaid | {k: v for k, v in values[part].items() if k in names}
                unknown |= {f"{part}.{k}": v for k, v in values[part].items() if k not in names}
            plan = values.get("plan")
            return cls(
                TokenizeConfig.from_dict(known["config"]),
                spec_from_dict(known["codec"]),
                values["version"],
                PlanFacts.from_json(plan) if isinstance(plan, dict) else None,
                values.get("derived"),
                unknown,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"configuration cannot be read: {error!r}") from error

    def to_json(self) -> dict[str, Any]:
        """The JSON object that is written."""
        values: dict[str, Any] = {
            "config": asdict(self.config) | self._unknown("config"),
            "codec": asdict(self.codec) | self._unknown("codec"),
            "version": self.version,
        }
        if self.derived is not None:
            values["derived"] = dict(self.derived)
        return values if self.plan is None else values | {"plan": self.plan.to_json()}

    @property
    def made(self) -> list[str]:
        """How it was made from others, for people: a line; none where a corpus was tokenized."""
        if self.derived is None:
            return []
        flags = [
            f"--{name.replace('_', '-')}{'' if value is True else f' {quote(str(value))}'}"
            for name, value in self.derived["arguments"].items()
        ]
        parents = ", ".join(one["path"] for one in self.derived["parents"])
        of = f", from {parents}" if parents else ""
        return [f"{' '.join([self.derived['command'], *flags])}{of}"]

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides rows and names, the plan included (16 hex digits)."""
        identity = self._identity()
        if self.plan is not None:
            identity["plan"] = self.plan.sha256
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, wanted: StoredRun) -> list[str]:
        """One line for each setting with which `wanted` would write other rows; empty when they
        agree."""
        before, now = self._identity(), wanted._identity()
        weights = "codec.weights_sha256"
        if before[weights] != now[weights] and self.codec.codec != wanted.codec.codec:
            # Names alone make no difference, but say more than hashes of what does.
            before["codec"], now["codec"] = self.codec.codec, wanted.codec.codec
        return [
            f"{name}: {_short(before.get(name, UNSAID.get(name)))} there, "
            f"{_short(now.get(name, UNSAID.get(name)))} now"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]

    def _identity(self) -> dict[str, Any]:
        values = self.to_json()
        # However it was asked for: the same as in folders from when only a bandwidth could be.
        values["config"]["bandwidth"] = self.codec.bandwidth
        left_out = {f"codec.{name}" for name in FACTS_OF_THE_MACHINE} | {*_SAID_BY_THE_CODEC}
        return {
            name: value
            for part in self._PARTS
            for field_name, value in values[part].items()
            if (name := f"{part}.{field_name}") not in left_out
            and not (name in UNSAID and value == UNSAID[name])
        }

    def _unknown(self, part: str) -> dict[str, Any]:
        return {
            name.removeprefix(f"{part}."): value
            for name, value in self.unknown.items()
            if name.startswith(f"{part}.")
        }


def _short(value: Any) -> str:
    """A value for people: of a long list the beginning."""
    if isinstance(value, list | tuple) and len(value) > _SHOWN:
        shown = ", ".join(map(repr, value[:_SHOWN]))
        return f"({shown}, … {len(value) - _SHOWN:,} more)"
    return repr(value)
