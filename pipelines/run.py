"""From a configuration to committed shards: what the `tokenize` command does, as a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version

from pipelines.corpus.by_channel import planned
from pipelines.corpus.web_versions import with_web_versions
from pipelines.output.card import write_card
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.manifest.commits import Manifest, Settled
from pipelines.output.manifest.leases import Lease, new_run
from pipelines.output.manifest.names import CONFIG
from pipelines.output.manifest.records import Totals
from pipelines.output.plan import PlannedShard, plan_with
from pipelines.output.plans.placing import Placing
from pipelines.output.quality import require_measures
from pipelines.output.quality.keep import Keep
from pipelines.output.storage import open_storage
from pipelines.output.stored_run import StoredRun
from pipelines.planning.corpus import about_channels, open_corpus, open_cutting
from pipelines.planning.watching import SAID_EVERY, seldom
from pipelines.running.growth import Growth, Next
from pipelines.running.news import News
from pipelines.running.work import Work
from pipelines.system.devices import usable_gpu
from pipelines.system.words import format_duration, format_hours, many
from pipelines.tokenizing.outcome import RunResult, add_up, complain_of_nothing, said_of
from pipelines.tokenizing.progress import (
    Display,
    RunProgress,
    describe,
    open_display,
    refuse_more_failures,
)
from tokenizer.codecs import describe_codec
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import CodecshardsError, OutputError, UsageError


def tokenize_corpus(
    config: TokenizeConfig, out: str, options: RunOptions | None = None
) -> RunResult:
    """Tokenize a corpus into `out`, or finish what an earlier run began there.

    Args:
        config: what to write. The first run stores it; a later one must agree with it.
        out: folder or URL of the output.
        options: how to run; changes nothing of what is written.

    Raises:
        UsageError: anything that makes the run impossible, in one line, before work starts where
            that can be known.
    """
    options = options or RunOptions()
    with open_display(options.quiet) as display:
        run = _Run(config, out, options, display)
        try:
            with run.lease():
                run.work()
        except KeyboardInterrupt:
            display.message(run.how_to_resume())
            raise
        return run.finish()


class _Run:
    """One run over one output folder."""

    def __init__(
        self, config: TokenizeConfig, out: str, options: RunOptions, display: Display
    ) -> None:
        options.compute.require_here()
        self._options = options
        self._display = display
        self._out = out
        require_measures(config.measures)
        if config.keep is not None:
            Keep(config.keep, config.measures)
        self._spec = _described(config)
        if self._spec.precision == "fast" and (
            options.device == "cpu" or not (options.address or usable_gpu())
        ):
            raise UsageError(
                "--precision fast: needs GPUs; on CPUs use --precision exact, which is no slower "
                "there"
            )
        self._source = open_corpus(config, options.moved)
        self._config = TokenizeConfig.from_dict(
            {**config.to_dict(), "source": self._source.address}
        )
        self._storage = open_storage(out)
        self._format = shard_format(config.format)
        self._manifest = Manifest(self._storage)
        self._run = new_run()
        self._version = version("codecshards")
        wanted = StoredRun(self._config, self._spec, self._version)
        self._began = self._manifest.read_config() is None and self._begin(wanted)
        # Whoever began: what is stored is what counts, and this run joins it or is refused.
        self._stored = self._agree(wanted)
        self._config = replace(self._config, split=self._stored.config.split)
        self._fingerprint = self._stored.fingerprint
        self._work = Work(
            config=self._config,
            options=options,
            spec=self._spec,
            source=self._source,
            manifest=self._manifest,
            display=display,
            run=self._run,
            version=self._version,
            fingerprint=self._fingerprint,
        )
        self._names: Sequence[str] = self._manifest.planned_names()
        self._totals: Totals | None = None  # once all was found committed
        self._news = News()
        self._grown = False  # this run has begun a generation

    def _agree(self, wanted: StoredRun) -> StoredRun:
        """The stored configuration, if it is what was asked for."""
        stored = self._manifest.require_config()
        if stored.derived is not None:
            parents = ", ".join(one["path"] for one in stored.derived["parents"])
            of = f" from {parents}: tokenize there, and make it anew; or" if parents else ":"
            raise OutputError(
                f"{self._out} was made by `codecshards {stored.derived['command']}`{of} choose "
                "another OUT, and merge"
            )
        if wanted.config.split is None:  # not said: as it is there
            wanted = replace(wanted, config=replace(wanted.config, split=stored.config.split))
        changed = stored.differences(wanted)
        if changed:
            elsewhere = [name.partition(":")[0] for name in changed] == ["config.source"]
            hint = "; if SOURCE has moved: --moved OLD=NEW" if elsewhere else ""
            raise OutputError(
                f"{self._out} holds another configuration ({'; '.join(changed)}): choose another "
                f"OUT, or the same settings{hint}"
            )
        return stored

    def _begin(self, wanted: StoredRun) -> bool:
        """List the corpus, plan it, and write both down, unless another run has just done so;
        whether this one did. Nothing is written before all of it is known to work."""
        self._display.message(f"listing {', '.join(self._config.named_sources(3))} …")
        self._require_gpus_there()
        config, patience = self._config, self._options.decode_timeout
        cutting = open_cutting(
            config, self._source, patience, seldom(self._display.message, SAID_EVERY)
        )
        placing = Placing(config.shard_hours, config.split)
        plan = plan_with(
            placing,
            planned(
                self._source,
                config.channels,
                config.stream,
                patience,
                with_web_versions(self._source.scan()),
                cutting,
            ),
            lambda: self._source.notes,
        )
        if not placing.by_recordings:
            # What is added later goes where these went, whatever it says.
            wanted = replace(wanted, config=replace(config, split=plan.split))
        if not self._manifest.begin(wanted, plan):
            self._display.message(
                f"another run has just begun on {self._out}: joining it, if it was asked for the "
                "same"
            )
            return False
        self._display.message(
            f"{plan.count} recordings, about "
            f"{format_hours(sum(shard.seconds for shard in plan.shards))}, planned into "
            f"{len(plan.shards)} shards"
        )
        for note in (*about_channels(config, self._spec), *placing.notes(), *plan.notes):
            self._display.message(note)
        return True

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Tell other runs that this one is at work, and tidy up after it."""
        try:
            redoes = not self._options.grows
            with Lease(self._storage, self._run, while_there=CONFIG, redoes=redoes):
                yield
        finally:
            with suppress(CodecshardsError, OSError):  # what ended the run is told, not this
                self._manifest.require(self._fingerprint)
                self._manifest.tidy(self._run)

    def _require_gpus_there(self) -> None:
        """What a cluster has is asked before OUT is written, where the run cannot do without."""
        compute = self._options.compute
        if compute.device == "cuda" and compute.cluster is not None:
            from pipelines.cluster.connect import connect

            with connect(compute.cluster, compute.workers, compute.gpus) as cluster:
                compute.require_on(cluster.gpus)

    def work(self) -> None:
        """Do every shard that is not committed yet, and then what was asked for beyond that.

        Raises:
            OutputError: OUT was deleted or replaced meanwhile.
        """
        options, growth = self._options, Growth(self._work)
        all_there = self._finish_planned()
        if self._elsewhere() or self._began:
            return
        if options.append:
            self._grow(growth.append, "nothing is new in SOURCE")
        elif options.retry_failed is not None:
            kinds = options.retry_failed
            self._grow(lambda: growth.retry(kinds), "no failure to try again")
        elif all_there:
            self._news = News.of(growth, self._display, self._out, len(self._names))

    def finish(self) -> RunResult:
        """Write the data set card, and add up what is there.

        Raises:
            OutputError: less is there than was committed: OUT was changed or deleted meanwhile.
        """
        self._manifest.require(self._fingerprint)
        totals = self._totals or Totals.over(self._manifest.records())
        names = {*self._own(self._names)}
        missing = self._missing()
        if names & missing:
            raise OutputError(
                f"{self._out}: {len(names & missing)} shards were removed during the run: run the "
                "same command again"
            )
        if not missing:
            write_card(self._storage, self._stored, totals)
        result = replace(
            add_up(totals, self._spec.sample_rate), missing=len(missing), **self._news.counts()
        )
        for line in said_of(result, self._out, self._config.keep):
            self._display.message(line)
        if missing:
            part = self._options.part
            self._display.message(
                f"part {part} is done; {many(len(missing), 'shard')} of other parts "
                f"{'is' if len(missing) == 1 else 'are'} missing"
            )
        complain_of_nothing(totals, self._config.keep)
        return result

    def how_to_resume(self) -> str:
        """What to tell someone who has interrupted the run."""
        done = len(self._names) - len(self._missing())
        return (
            f"stopped: {done} of {len(self._names)} shards are committed; run the same "
            "command again to go on"
        )

    def _finish_planned(self) -> bool:
        """Do what was planned and is not committed, of this run's part; whether all was there."""
        found = self._settle()
        before, own = found.totals, self._own(found.names)
        missing = [name for name in own if name not in found.committed]
        refuse_more_failures(
            RunProgress(0.0, 0, earlier_failures=before.settled), self._options.max_failures
        )
        # An outage is no fate: its recordings are tried again, once a run. What adds shards leaves
        # those that are there as they are.
        again = [] if self._options.grows else self._work.shards(before.hopeful & {*own})
        if not missing and not again:
            self._totals = None if found.missing else before
            return not found.missing
        todo = [*self._work.shards(missing), *again]
        if found.committed and not self._grown:
            self._say_resuming(len(found.committed))
        if again:
            self._display.message(
                f"{many(len(again), 'shard')} with recordings that were unavailable: tried again"
            )
        self._do(todo, before.settled)
        return not found.missing

    def _do(self, todo: Sequence[PlannedShard], earlier_failures: int) -> None:
        self._totals = None
        progress = RunProgress(
            sum(shard.seconds for shard in todo), len(todo), earlier_failures=earlier_failures
        )
        while todo:
            self._work.do(todo, progress)
            # Nothing is left, unless a worker of an earlier run got in the way of this one's
            # commits.
            found = self._settle()
            todo = self._work.shards({*self._own(found.names)} & {*found.missing})
            self._totals = None if found.missing else found.totals
        self._display.update(progress)
        self._display.message(f"{describe(progress)}, in {format_duration(progress.elapsed)}")

    def _grow(self, plan_next: Callable[[], Next | None], nothing: str) -> None:
        """Begin a generation and do its shards; where another run has just begun one, that one's
        first."""
        while True:
            self._display.message(f"listing {', '.join(self._config.named_sources(3))} …")
            coming = plan_next()
            if coming is None:
                self._display.message(f"{self._out}: {nothing}")
                return
            own = self._manifest.begin_generation(
                coming.kind, coming.plan, coming.number, self._run, coming.retried
            )
            if own:
                self._grown = True
                self._display.message(str(coming))
            else:
                self._display.message("another run has just begun to add shards: joining it")
            self._work.renew()
            self._names = self._manifest.planned_names()
            self._finish_planned()
            if own or self._elsewhere():
                return

    def _say_resuming(self, committed: int) -> None:
        for note in self._work.plans.notes:
            self._display.message(note)
        self._display.message(f"resuming: {committed} of {len(self._names)} shards are committed")

    def _settle(self) -> Settled:
        self._manifest.require(self._fingerprint)
        found = self._manifest.settle(self._format)
        for line in found.withdrawn:
            self._display.message(line)
        if len(found.names) != len(self._names):  # another run has begun to add shards
            self._work.renew()
            self._names = found.names
        return found

    def _own(self, names: Sequence[str]) -> Sequence[str]:
        """Those of this run's part."""
        part, of = self._options.parts
        return names[part - 1 :: of]

    def _missing(self) -> set[str]:
        """Names of shards that are not committed."""
        return {*self._names} - {*self._manifest.committed_names()}

    def _elsewhere(self) -> int:
        """How many shards of other parts are not committed."""
        return len(self._missing()) if self._options.part is not None else 0


def _described(config: TokenizeConfig) -> CodecSpec:
    return describe_codec(
        config.codec,
        bandwidth=config.bandwidth,
        n_q=config.n_q,
        revision=config.revision,
        precision=config.precision,
    )
