"""Corpora in, shards of codes out: sources, plan, shards, Ray, command line.

The public names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.run import AuditReport, audit

__all__ = ["AuditOptions", "AuditReport", "audit"]

_HOMES = {
    "AuditOptions": "pipelines.auditing.options",
    "AuditReport": "pipelines.auditing.run",
    "audit": "pipelines.auditing.run",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
