"""Everything public in one import.

    import codecshards as cs

    cs.tokenize("music/", "out/", bandwidth=6, workers=0)
    for batch in cs.CodesLoader(cs.CodesDataset("out/"), batch_size=32):
        ...

The names are those of the packages `tokenizer` and `pipelines`, which are found beside this one
even where a script has a `tokenizer.py` of its own beside it (`codecshards.own`). They load on
first use.
"""

# Nothing is imported here that is not in memory anyway: the command first forgets the working
# folder, in which a user's files may be called as Python's own are (`codecshards.__main__`).

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pipelines import (
        AuditOptions,
        AuditReport,
        Batch,
        Buckets,
        CoarseFirst,
        CodesDataset,
        CodesLoader,
        Crop,
        Delay,
        Derived,
        EachChannel,
        Edited,
        Evaluated,
        EvaluateOptions,
        ExportResult,
        Flatten,
        Interleaved,
        Mixture,
        Pack,
        PackedBatch,
        Parallel,
        Pattern,
        Pushed,
        RunOptions,
        RunResult,
        Sample,
        Span,
        TokenizeConfig,
        Tokens,
        adopt_codes,
        audit,
        codes_from_tokens,
        compress_codes,
        correct_codes,
        drop_codes,
        evaluate,
        expand_codes,
        export_codes,
        filter_codes,
        merge_codes,
        mix,
        push_codes,
        reshard_codes,
        split_codes,
        tokenize,
    )
    from tokenizer import (
        ChunkCodes,
        Codec,
        CodecLoadError,
        CodecshardsError,
        CodecSpec,
        Codes,
        EncodeStream,
        FailureKind,
        Layout,
        OutputError,
        Recording,
        RecordingError,
        ShapeError,
        ShardError,
        SourceError,
        UsageError,
        Waveform,
        load_codec,
        read_audio,
    )

__all__ = [
    "AuditOptions",
    "AuditReport",
    "Batch",
    "Buckets",
    "ChunkCodes",
    "CoarseFirst",
    "Codec",
    "CodecLoadError",
    "CodecSpec",
    "CodecshardsError",
    "Codes",
    "CodesDataset",
    "CodesLoader",
    "Crop",
    "Delay",
    "Derived",
    "EachChannel",
    "Edited",
    "EncodeStream",
    "EvaluateOptions",
    "Evaluated",
    "ExportResult",
    "FailureKind",
    "Flatten",
    "Interleaved",
    "Layout",
    "Mixture",
    "OutputError",
    "Pack",
    "PackedBatch",
    "Parallel",
    "Pattern",
    "Pushed",
    "Recording",
    "RecordingError",
    "RunOptions",
    "RunResult",
    "Sample",
    "ShapeError",
    "ShardError",
    "SourceError",
    "Span",
    "TokenizeConfig",
    "Tokens",
    "UsageError",
    "Waveform",
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
    "load_codec",
    "merge_codes",
    "mix",
    "push_codes",
    "read_audio",
    "reshard_codes",
    "split_codes",
    "tokenize",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from codecshards.own import own_packages

    package = next(package for package in own_packages() if name in package.__all__)
    return getattr(package, name)


def __dir__() -> list[str]:
    return sorted(__all__)
