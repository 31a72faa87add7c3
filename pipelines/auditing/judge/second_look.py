"""What --reencode finds besides other codes: a codec that refuses, decoders that disagree."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.auditing.judge.evidence import Evidence
from pipelines.auditing.results import FindingName, Remark


def not_encoded_again(evidence: Evidence) -> Iterator[Remark]:
    """A codec that made codes of a source once must be able to do it again."""
    look = evidence.second_look
    if look is not None and look.refused is not None:
        detail = (
            f"the source cannot be encoded again, as it was when it was tokenized: {look.refused}"
        )
        yield Remark(FindingName.NOT_ENCODED_AGAIN, detail)


def readers_differ(evidence: Evidence) -> Iterator[Remark]:
    """Two decoders that read one source must hear the same."""
    look = evidence.second_look
    if look is not None and look.readers_fault is not None:
        detail = (
            f"tokenized as one decoder reads it, {look.reader} reads it otherwise: "
            f"{look.readers_fault}"
        )
        yield Remark(FindingName.READERS_DIFFER, detail)
