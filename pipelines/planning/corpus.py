"""The corpus that a configuration names, for a run and for its dry run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.corpus.cutting import Cutting
from pipelines.corpus.reader import DecodeSettings
from pipelines.corpus.sources import Source, open_source
from pipelines.corpus.tables.hints import SAID, parse_hints
from pipelines.output.config import TokenizeConfig
from tokenizer.codecs.base import CodecSpec


def open_corpus(config: TokenizeConfig, moved: Sequence[str] = ()) -> Source:
    """`moved` as `open_source`.

    Raises:
        SourceError: there is no such thing, in one line.
        UsageError: a hint that cannot be followed.
    """
    return open_source(
        config.source,
        follow_links=config.follow_links,
        hints=parse_hints(**{name: getattr(config, name) for name in SAID}),
        moved=moved,
    )


def about_channels(config: TokenizeConfig, spec: CodecSpec | None) -> list[str]:
    """What happens to stereo that nobody has chosen channels of, where the codec is mono: a
    line."""
    if spec is None or spec.channels != 1 or config.channels is not None:
        return []
    return [
        f"{spec.codec} is mono: the two channels of stereo recordings are mixed (--channels left, "
        "right or split takes one or each of them)"
    ]


def open_cutting(
    config: TokenizeConfig, source: Source, timeout: float, say: Callable[[str], None]
) -> Cutting | None:
    """What cuts long recordings, where that is asked for.

    Args:
        config: of the run.
        source: of the recordings.
        timeout: as `DecodeSettings` has it.
        say: is told how far it is.

    Raises:
        UsageError: a package is missing.
    """
    rule = config.cut_rule
    if rule is None:
        return None
    settings = DecodeSettings(
        source=source,
        sample_rate=0,
        channels=0,
        downmix=config.downmix,
        chosen=config.channels,
        stream=config.stream,
        allow_truncated=config.allow_truncated,
        allow_damaged=config.allow_damaged,
        timeout=timeout,
    )
    return Cutting(rule, settings, say)
