"""Corpora in, shards of codes out, and from there to training batches and audits. The public names
load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.run import AuditReport, audit
    from pipelines.evaluating.options import EvaluateOptions
    from pipelines.evaluating.run import Evaluated, evaluate
    from pipelines.exporting.export import ExportResult, export_codes
    from pipelines.exporting.inverse import Tokens, codes_from_tokens
    from pipelines.loader.batch import Batch, PackedBatch
    from pipelines.loader.batching import Buckets, Pack
    from pipelines.loader.crop import Crop
    from pipelines.loader.dataset import CodesDataset
    from pipelines.loader.loader import CodesLoader
    from pipelines.loader.patterns import (
        CoarseFirst,
        Delay,
        EachChannel,
        Flatten,
        Interleaved,
        Parallel,
        Pattern,
    )
    from pipelines.loader.sample import Sample, Span
    from pipelines.loader.sequence.mixing import Mixture, mix
    from pipelines.output.config import RunOptions, TokenizeConfig
    from pipelines.public import tokenize
    from pipelines.publishing.push import Pushed, push_codes
    from pipelines.reshaping.adopting import adopt_codes
    from pipelines.reshaping.archiving.commands import compress_codes, expand_codes
    from pipelines.reshaping.commands import (
        filter_codes,
        merge_codes,
        reshard_codes,
        split_codes,
    )
    from pipelines.reshaping.derive import Derived
    from pipelines.reshaping.edits.editing import Edited, correct_codes, drop_codes
    from pipelines.tokenizing.outcome import RunResult

__all__ = [
    "AuditOptions",
    "AuditReport",
    "Batch",
    "Buckets",
    "CoarseFirst",
    "CodesDataset",
    "CodesLoader",
    "Crop",
    "Delay",
    "Derived",
    "EachChannel",
    "Edited",
    "EvaluateOptions",
    "Evaluated",
    "ExportResult",
    "Flatten",
    "Interleaved",
    "Mixture",
    "Pack",
    "PackedBatch",
    "Parallel",
    "Pattern",
    "Pushed",
    "RunOptions",
    "RunResult",
    "Sample",
    "Span",
    "TokenizeConfig",
    "Tokens",
    "adopt_codes",
    "audit",
    "codes_from_tokens",
    "compress_codes",
    "correct_codes",
    "drop_codes",
    "evaluate",
    "expand_codes",
    "export_codes",
    "filter_codes",
    "merge_codes",
    "mix",
    "push_codes",
    "reshard_codes",
    "split_codes",
    "tokenize",
]

_HOMES = {
    "AuditOptions": "auditing.options",
    "AuditReport": "auditing.run",
    "Batch": "loader.batch",
    "Buckets": "loader.batching",
    "CoarseFirst": "loader.patterns",
    "CodesDataset": "loader.dataset",
    "CodesLoader": "loader.loader",
    "Crop": "loader.crop",
    "Delay": "loader.patterns",
    "Derived": "reshaping.derive",
    "EachChannel": "loader.patterns",
    "Edited": "reshaping.edits.editing",
    "EvaluateOptions": "evaluating.options",
    "Evaluated": "evaluating.run",
    "ExportResult": "exporting.export",
    "Flatten": "loader.patterns",
    "Interleaved": "loader.patterns",
    "Mixture": "loader.sequence.mixing",
    "Pack": "loader.batching",
    "PackedBatch": "loader.batch",
    "Parallel": "loader.patterns",
    "Pattern": "loader.patterns",
    "Pushed": "publishing.push",
    "RunOptions": "output.config",
    "RunResult": "tokenizing.outcome",
    "Sample": "loader.sample",
    "Span": "loader.sample",
    "TokenizeConfig": "output.config",
    "Tokens": "exporting.inverse",
    "adopt_codes": "reshaping.adopting",
    "audit": "auditing.run",
    "codes_from_tokens": "exporting.inverse",
    "compress_codes": "reshaping.archiving.commands",
    "correct_codes": "reshaping.edits.editing",
    "drop_codes": "reshaping.edits.editing",
    "expand_codes": "reshaping.archiving.commands",
    "evaluate": "evaluating.run",
    "export_codes": "exporting.export",
    "filter_codes": "reshaping.commands",
    "merge_codes": "reshaping.commands",
    "mix": "loader.sequence.mixing",
    "push_codes": "publishing.push",
    "reshard_codes": "reshaping.commands",
    "split_codes": "reshaping.commands",
    "tokenize": "public",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"pipelines.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
