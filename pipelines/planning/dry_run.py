"""What `codecshards plan` does, as a function."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.output.config import TokenizeConfig
from pipelines.planning.corpus import open_corpus
from pipelines.planning.estimate import make_estimate
from pipelines.planning.report import Report
from pipelines.planning.survey import take_survey
from pipelines.planning.watching import seldom, told, watched
from pipelines.system.machine import usable_cores
from tokenizer.codecs.facts import codec_facts
from tokenizer.types import Recording


def plan(
    config: TokenizeConfig, *, cores: int | None = None, measure: bool = False, quiet: bool = False
) -> Report:
    """What a run would find, and make of it. Nothing is written, decoded or fetched but the list;
    only where long recordings are to be cut, those are decoded, to find their pauses.

    Args:
        config: what `tokenize` would be asked for.
        cores: that would work on it; None is all of this machine.
        measure: load the codec, and encode for a few seconds.
        quiet: say nothing while the corpus is listed.

    Raises:
        SourceError: the corpus cannot be listed, or not be planned.
        UsageError: what a run would refuse too.
    """
    spec = codec_facts(config.codec, config.bandwidth, config.revision, n_q=config.n_q)
    source = open_corpus(config)
    named = ", ".join(config.named_sources(3))

    def passing(recordings: Iterator[Recording]) -> Iterator[Recording]:
        return recordings if quiet else watched(recordings, named)

    say = (lambda text: None) if quiet else seldom(told())
    survey = take_survey(source, config, spec, passing, say)
    estimate = make_estimate(survey, config, spec, cores or usable_cores(), measure)
    return Report(config, survey, spec, estimate)
