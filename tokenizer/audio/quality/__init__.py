"""Quality measures by name: one column of the shards each. A new one is one class here and one row
in `MEASURES`, or an entry point of another package in `codecshards.quality`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module

from tokenizer import plugins
from tokenizer.audio.quality.base import ExcerptMeasure, Measure
from tokenizer.errors import UsageError

__all__ = [
    "MEASURES",
    "ExcerptMeasure",
    "Measure",
    "chosen",
    "described",
    "measure",
    "measure_names",
]

MEASURES: dict[str, str] = {
    "loudness": "tokenizer.audio.quality.loudness:Loudness",
    "peak": "tokenizer.audio.quality.amplitude:Peak",
    "dc_offset": "tokenizer.audio.quality.amplitude:DcOffset",
    "bandwidth": "tokenizer.audio.quality.bandwidth:Bandwidth",
    "snr": "tokenizer.audio.quality.levels:Snr",
    "silence": "tokenizer.audio.quality.levels:Silence",
    "clipping": "tokenizer.audio.quality.amplitude:Clipping",
    "correlation": "tokenizer.audio.quality.correlation:Correlation",
}
"""name → `module:class`, in the order of the columns"""
BASIC, NONE = "basic", "none"


def measure_names() -> list[str]:
    """Those that ship, then those of other packages."""
    return [*MEASURES, *plugins.plugin_names(plugins.QUALITY, MEASURES)]


def measure(name: str) -> type[Measure]:
    """The measure of that name.

    Raises:
        UsageError: there is none, or the package that it comes from cannot be loaded.
    """
    if name in MEASURES:
        module, kind = MEASURES[name].split(":")
        found: object = getattr(import_module(module), kind)
    elif name in measure_names():
        found = plugins.load_plugin(plugins.QUALITY, name)
    else:
        raise UsageError(
            f"--quality {name}: there is no such measure; choose {BASIC}, {NONE}, or some of "
            f"{', '.join(measure_names())}"
        )
    if not (isinstance(found, type) and issubclass(found, Measure)):
        raise plugins.not_a(plugins.QUALITY, name, "a subclass of Measure")
    return found


def chosen(asked: str) -> tuple[str, ...]:
    """The names that `basic`, `none` or `NAME,NAME` stand for, in the order of the columns,
    whatever theirs was; `basic` among other names is all that ship. A folder can be read without
    the package that measured it, so that names which are not known here are taken as they are.

    Raises:
        UsageError: what cannot be a name.
    """
    names = {name for part in asked.split(",") if (name := part.strip())}
    if names == {NONE}:
        return ()
    if BASIC in names:
        names = names - {BASIC} | MEASURES.keys()
    for name in sorted(names | ({asked} if not names or NONE in names else set())):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == NONE:
            raise UsageError(
                f"--quality {asked!r}: give {BASIC}, {NONE}, or names of measures with commas "
                f"between: {', '.join(MEASURES)}"
            )
    shipped = tuple(name for name in MEASURES if name in names)
    return (*shipped, *sorted(names - MEASURES.keys()))


def described(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Unit and meaning of each measure, as shards have them in their footers."""
    return {
        name: {"unit": kind.unit, "what": kind.what} for name in names for kind in [measure(name)]
    }
