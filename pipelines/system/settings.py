"""Settings, described once: a field of a frozen dataclass says what it means, and the command line
makes its flag from that (`pipelines.cli.flags`).

    bandwidth: float = setting(6.0, "default: %(default)s", metavar="KBPS")    --bandwidth KBPS
    page: bool = setting(True, "figures only")                                 --no-page
    ids: tuple[str, ...] = setting((), "exactly these", metavar="ID")          --ids ID [ID ...]
    decode_timeout: float = internal(120.0, "why there is no flag")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tokenizer.errors import UsageError

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


def settle(options: Any) -> None:
    """Give the fields of an options dataclass the types that they are declared with, where a caller
    in Python gives what means the same: a `Path`, NumPy's numbers, a list, `"a,b"` for several
    names, None for nothing. To be called as its `__post_init__` begins.

    Raises:
        UsageError: a value that means nothing of its field's type.
    """
    kinds = get_type_hints(type(options))
    for one in fields(options):
        value = getattr(options, one.name)
        if value is None and NoneType not in get_args(kinds[one.name]):
            value = one.default if one.default_factory is MISSING else one.default_factory()
        if value is not None:
            value = _typed(one, _plain(kinds[one.name]), value)
        object.__setattr__(options, one.name, value)


def _plain(kind: Any) -> Any:
    """A type without its None; several are any."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    if isinstance(kind, UnionType):
        return parts[0] if len(parts) == 1 else Any
    return kind


def _typed(one: Field[Any], kind: Any, value: Any) -> Any:
    told = f"--{one.name.replace('_', '-')} {value!r}"
    if get_origin(kind) is tuple:
        return _several(one, told, value)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise UsageError(f"{told}: give a dict")
        wrong = next((name for name in value if not isinstance(value[name], Real)), None)
        if wrong is not None:
            raise UsageError(f"{told}: {wrong!r} is no number")
        return {name: float(number) for name, number in value.items()}
    return _scalar(kind, told, value)


def _several(one: Field[Any], told: str, value: Any) -> tuple[str, ...]:
    flag = flag_of(one)
    if isinstance(value, str) and flag is not None and flag.commas:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, str | os.PathLike):
        return (os.fspath(value),)
    if not isinstance(value, Iterable):
        raise UsageError(f"{told}: give a list")
    return tuple(str(part) for part in value)


def _scalar(kind: Any, told: str, value: Any) -> Any:
    if getattr(value, "ndim", None) == 0:  # NumPy's and torch's
        value = value.item()
    if kind is bool and not isinstance(value, bool):
        raise UsageError(f"{told}: give True or False")
    if kind is int:
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise UsageError(f"{told}: give a whole number")
        return int(value)
    if kind is float:
        if not isinstance(value, Real) or isinstance(value, bool) or value != value:
            raise UsageError(f"{told}: give a number")
        return float(value)
    if kind is str:
        if not isinstance(value, str | os.PathLike):
            raise UsageError(f"{told}: give a text")
        return os.fspath(value)
    return value
