"""Shards at work: here or on Ray, by the settings of a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelines.auditing.choose.share import limit
from pipelines.auditing.options import AuditOptions
from pipelines.auditing.while_tokenizing import PassingSettings
from pipelines.corpus.reader import DecodeSettings
from pipelines.corpus.sources.base import Source
from pipelines.output.config import RunOptions, TokenizeConfig, with_device
from pipelines.output.formats.schema import make_footer
from pipelines.output.manifest.commits import Manifest
from pipelines.output.plan import PlannedShard
from pipelines.output.plans.together import Plans
from pipelines.tokenizing.encoders import LocalEncoder
from pipelines.tokenizing.jobs import CodecSettings, Journal, ShardJob, WorkSettings
from pipelines.tokenizing.observer import ObserverSettings
from pipelines.tokenizing.progress import Display, RunProgress, refuse_more_failures
from pipelines.tokenizing.worker import ShardWorker
from tokenizer.allocator import keep_freed_memory
from tokenizer.audio.quality import described
from tokenizer.codecs import batch_chunks
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.precision import PrecisionReport
from tokenizer.errors import UsageError


@dataclass
class Work:
    """Does shards, and knows all that they have in common."""

    config: TokenizeConfig
    options: RunOptions
    spec: CodecSpec
    source: Source
    manifest: Manifest
    display: Display
    run: str
    """whose staged files are written: `pipelines.output.manifest.leases`"""
    version: str
    """of codecshards"""
    fingerprint: str
    """of what is stored"""

    @cached_property
    def plans(self) -> Plans:
        """Read when there is work to do."""
        return self.manifest.read_plans()

    def renew(self) -> None:
        """Forget the plans: there is one more."""
        self.__dict__.pop("plans", None)

    def shards(self, names: Collection[str]) -> list[PlannedShard]:
        """Planned shards, by their names."""
        return [shard for shard in self.plans.shards if shard.name in names] if names else []

    def do(self, todo: Sequence[PlannedShard], progress: RunProgress) -> None:
        """Do these shards, each once."""
        if self.options.workers == 0:
            self._work_here(todo, progress)
        else:
            self._work_on_ray(todo, progress)

    def _work_here(self, todo: Sequence[PlannedShard], progress: RunProgress) -> None:
        keep_freed_memory()
        codec = self._codec_settings(self.options.device).load()
        encoder = LocalEncoder(codec, codec.batch_chunks)
        worker = ShardWorker(self._work_settings(codec.spec.device), encoder)
        worker.on_progress = lambda: self._show(worker, progress)
        try:
            for shard in todo:
                result = worker.run(ShardJob.of(shard))
                progress.under_way = []
                progress.finish(shard.seconds, result.progress)
                refuse_more_failures(progress, self.options.max_failures)
        finally:
            worker.close()
            encoder.close()
        self._record_precision(codec.precision_report())

    def _show(self, worker: ShardWorker, progress: RunProgress) -> None:
        progress.under_way = [worker.progress]
        self.display.update(progress)

    def _work_on_ray(self, todo: Sequence[PlannedShard], progress: RunProgress) -> None:
        from pipelines.cluster.connect import connect
        from pipelines.cluster.driver import Driver

        options = self.options
        with connect(options.address, options.workers, options.compute.ray_gpus) as cluster:
            options.compute.require_on(cluster.gpus)
            device = "cuda" if cluster.gpus and options.device != "cpu" else "cpu"
            if self.spec.precision == "fast" and device == "cpu":
                raise UsageError(
                    "--precision fast: needs GPUs, and Ray sees none; choose another OUT with "
                    "--precision exact"
                )
            settings, codec = self._work_settings(device), self._codec_settings(device)
            driver = Driver(
                cluster,
                settings,
                codec,
                Journal(self.manifest.storage),
                self.display,
                options.max_failures,
            )
            driver.run(todo, progress)
            self._record_precision(driver.precision_report())

    def _record_precision(self, report: PrecisionReport | None) -> None:
        """Write down how "fast" codes compare with exact ones, together with what earlier runs on
        this folder found."""
        if report is None:
            return
        earlier = self.manifest.read_precision()
        report = report if earlier is None else earlier + report
        self.manifest.write_precision(report)
        self.display.message(f"--precision fast: {report.describe()}")

    def _codec_settings(self, device: str) -> CodecSettings:
        config = self.config
        return CodecSettings(
            codec=config.codec,
            revision=config.revision,
            bandwidth=config.bandwidth,
            device=device,
            batch_chunks=batch_chunks(device),
            reference=self.options.reference,
            precision=self.spec.precision,
            n_q=config.n_q,
        )

    def _work_settings(self, device: str) -> WorkSettings:
        config, spec = self.config, with_device(self.spec, device)
        return WorkSettings(
            out=self.manifest.storage.root,
            format=config.format,
            spec=spec,
            footer=make_footer(spec, self.version, described(config.measures)),
            fingerprint=self.fingerprint,
            decode=DecodeSettings(
                source=self.source,
                sample_rate=spec.sample_rate,
                channels=spec.channels,
                downmix=config.downmix,
                chosen=config.channels,
                stream=config.stream,
                allow_truncated=config.allow_truncated,
                allow_damaged=config.allow_damaged,
                timeout=self.options.decode_timeout,
                quality=config.measures,
                tags=config.tags,
            ),
            max_chunk_seconds=config.max_chunk_seconds,
            keep=config.keep,
            observe=self._observer(),
            missing_allowed=self.options.max_failures is not None,
            run=self.run,
        )

    def _observer(self) -> ObserverSettings | None:
        if self.options.audit is None:
            return None
        below = limit(self.options.audit, self.plans.ids())
        return PassingSettings.over(below, self.plans.ids(), AuditOptions())
