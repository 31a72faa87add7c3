"""What became of an output folder since something was made from it: appends and edits, for
people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.output.manifest.edits import described, history, next_number
from pipelines.output.manifest.reading import StoredManifest
from pipelines.system.words import many
from tokenizer.errors import UsageError


def state_of(manifest: StoredManifest) -> list[int]:
    """How often it was appended to, and edited."""
    return [len(manifest.generations()) - 1, next_number(manifest.storage) - 1]


def changes_since(manifest: StoredManifest, then: Sequence[int]) -> str:
    """What has happened since a `state_of`, as in "edited since (2 recordings taken out)"; nothing
    where nothing has, or the manifest cannot say."""
    return " and ".join(_changes(manifest, then))


def _changes(manifest: StoredManifest, then: Sequence[int]) -> Iterator[str]:
    try:
        grown = manifest.generations()[1 + then[0] :]
        edits = history(manifest.storage)[then[1] :]
    except UsageError:  # what it is about is told all the same
        return
    if grown:
        yield f"appended to since ({many(sum(one.plan.recordings for one in grown), 'recording')})"
    if edits:
        yield f"edited since ({'; '.join(map(described, edits))})"
