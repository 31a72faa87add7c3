"""The packages `tokenizer` and `pipelines` that belong to this one: found beside it, not by a
search that may meet a user's module of the same name first."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).resolve().parent.parent
NAMES = ("tokenizer", "pipelines")


def own_packages() -> list[ModuleType]:
    """Both packages, imported.

    Raises:
        ImportError: another module of that name has been imported before.
    """
    return [_own(name) for name in NAMES]


def _own(name: str) -> ModuleType:
    start = _HERE / name / "__init__.py"
    known = sys.modules.get(name)
    if known is not None:
        place = getattr(known, "__file__", None)
        if place is None or Path(place).resolve() != start:
            raise ImportError(
                f"{place or name} was imported as {name!r} before codecshards, which has a package "
                "of that name: import codecshards first, or give that file another name"
            )
        return known
    spec = spec_from_file_location(name, start)
    if spec is None or spec.loader is None:
        raise ImportError(f"{start} is missing: install codecshards again")
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
