"""What an audit of before says of a folder that has changed since: it is of another folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pipelines.auditing.places import PARTS, REPORT
from pipelines.output.manifest.commits import Manifest
from pipelines.output.manifest.since import changes_since


def stale_words(manifest: Manifest) -> Iterator[str]:
    """A line for the last report, and one for an audit that was broken off, if they are of the
    folder as it was before an edit or an append: they are made anew."""
    said = _since(manifest, [REPORT])
    if said:
        yield f"{manifest.storage.root} was {said}: the last audit is of before, and is replaced"
    begun = [f"{PARTS}/{name}" for name in manifest.storage.list(PARTS)]
    said = _since(manifest, begun)
    if said:
        yield (
            f"{manifest.storage.root} was {said}: what this audit had found in shards that changed "
            "is measured again"
        )


def _since(manifest: Manifest, places: Sequence[str]) -> str:
    for place in places:
        try:
            state = json.loads(manifest.storage.read(place))["state"]
            if said := changes_since(manifest, [int(state[0]), int(state[1])]):
                return said
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue  # not there, or of a version that did not say
    return ""
