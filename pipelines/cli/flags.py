"""The flags of a command, made from the fields of its options (`pipelines.system.settings`)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pipelines.system.settings import AS_FIELD, Flag, flag_of

_Options = TypeVar("_Options")


def add_flags(parser: argparse.ArgumentParser, options: type, title: str) -> None:
    """Give a parser a flag for every field that has one, in the fields' order.

    Args:
        parser: the command's.
        options: a dataclass.
        title: of the group of those fields that name none.
    """
    types = get_type_hints(options)
    groups: dict[str, Any] = {}
    for one in fields(options):
        flag = flag_of(one)
        if flag is None:
            continue
        name = flag.group or title
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        for spelled, more in _arguments(one, flag, _plain(types[one.name])):
            groups[name].add_argument(spelled, **more)


def from_flags(options: type[_Options], given: argparse.Namespace, **more: Any) -> _Options:
    """The options that a command line asks for.

    Args:
        options: the dataclass that the parser's flags were made from.
        given: what was parsed.
        more: the fields that have no flag.
    """
    values = {
        one.name: _value(one, flag, vars(given))
        for one in fields(options)  # type: ignore[arg-type]
        if (flag := flag_of(one)) is not None
    }
    return options(**values, **more)


def spelling(one: Field[Any]) -> str:
    """A field's name as a flag: `--no-page` switches off what is on unless it is said."""
    name = one.name.replace("_", "-")
    return f"--no-{name}" if one.default is True else f"--{name}"


def _arguments(one: Field[Any], flag: Flag, kind: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """A field's flags, and what `add_argument` is told of each."""
    how: dict[str, Any] = {
        "dest": one.name,
        "help": flag.help() if callable(flag.help) else flag.help,
    }
    default: Any = one.default if flag.default is AS_FIELD else flag.default
    if kind is bool:
        yield spelling(one), how | {"action": "store_false" if default else "store_true"}
        return
    how |= {"default": default, "metavar": flag.metavar}
    if flag.members is not None:
        how["type"] = get_args(kind)[1]
        for key, (name, help) in flag.members().items():
            yield f"--{name}", how | {"dest": _member(one, key), "help": help, "default": None}
        return
    if kind in (int, float):
        how["type"] = kind
    elif flag.commas:
        how["default"] = ",".join(default)
    elif flag.repeated:
        how |= {"action": "append", "default": None}
    elif get_origin(kind) is tuple:
        how["nargs"] = "*" if flag.optional else "+"
    yield spelling(one), how


def _value(one: Field[Any], flag: Flag, given: Mapping[str, Any]) -> Any:
    """A field's value from what was parsed."""
    if flag.members is not None:
        found = {key: given[_member(one, key)] for key in flag.members()}
        return {key: value for key, value in found.items() if value is not None}
    value = given[one.name]
    if flag.commas:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if flag.repeated and value is None:
        return one.default
    return tuple(value) if isinstance(value, list) else value


def _member(one: Field[Any], key: str) -> str:
    return f"{one.name}.{key}"


def _plain(kind: Any) -> Any:
    """A type without its None."""
    if isinstance(kind, UnionType):
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    return kind
