"""The corpus that a configuration names, for a run and for its dry run."""

from __future__ import annotations

from pipelines.corpus.sources import Source, open_source
from pipelines.corpus.tables.hints import SAID, parse_hints
from pipelines.output.config import TokenizeConfig


def open_corpus(config: TokenizeConfig) -> Source:
    """
    Raises:
        SourceError: there is no such thing, in one line.
        UsageError: a hint that cannot be followed.
    """
    return open_source(
        config.source,
        follow_links=config.follow_links,
        hints=parse_hints(**{name: getattr(config, name) for name in SAID}),
    )
