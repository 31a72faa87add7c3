"""Settings, described once: a field of a frozen dataclass says what it means, and the command line
makes its flag from that (`pipelines.cli.flags`).

    bandwidth: float = setting(6.0, "default: %(default)s", metavar="KBPS")    --bandwidth KBPS
    page: bool = setting(True, "figures only")                                 --no-page
    ids: tuple[str, ...] = setting((), "exactly these", metavar="ID")          --ids ID [ID ...]
    decode_timeout: float = internal(120.0, "why there is no flag")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

AS_FIELD: Any = object()
_FLAG, _INTERNAL = "flag", "internal"


@dataclass(frozen=True, slots=True)
class Flag:
    """What the command line adds to a field's name, type and default."""

    help: str | Callable[[], str]
    """a function where it depends on a registry, to which others may add"""
    metavar: str | None = None
    group: str | None = None
    """title in the help; None is the command's own"""
    default: Any = AS_FIELD
    """on the command line, where it is another than the field's"""
    commas: bool = False
    """several values are one word, `a,b`; otherwise several words, `--ids a b`"""
    optional: bool = False
    """several values may be none: the flag alone says something too"""
    repeated: bool = False
    """several values are several flags, `--music a --music b`"""
    members: Callable[[], Mapping[str, tuple[str, str]]] | None = None
    """a mapping has a flag for each key: its name, without the dashes, and its help"""


def setting(default: Any, help: str | Callable[[], str], **more: Any) -> Any:
    """A field that has a flag; `more` are fields of `Flag`. A mapping is made anew each time."""
    metadata = {_FLAG: Flag(help, **more)}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def internal(default: Any, why: str) -> Any:
    """A field that has no flag."""
    return field(default=default, metadata={_INTERNAL: why})


def shared(owner: type, name: str, **changes: Any) -> Any:
    """The same field as another dataclass has, with its default and its flag.

    Args:
        owner: that dataclass.
        name: of the field, in both.
        changes: `default` of the field, or fields of `Flag` (`flag_default` for its `default`).
    """
    (found,) = (one for one in fields(owner) if one.name == name)
    default = changes.pop("default", found.default)
    if "internal" in changes:
        return internal(default, changes["internal"])
    if "flag_default" in changes:
        changes["default"] = changes.pop("flag_default")
    return field(default=default, metadata={_FLAG: replace(found.metadata[_FLAG], **changes)})


def flag_of(one: Field[Any]) -> Flag | None:
    """The flag of a dataclass's field; None where it has none."""
    found: Flag | None = one.metadata.get(_FLAG)
    return found


def why_internal(one: Field[Any]) -> str | None:
    """Why a field has no flag; None where nothing says so."""
    found: str | None = one.metadata.get(_INTERNAL)
    return found
