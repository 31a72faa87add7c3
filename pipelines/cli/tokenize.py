"""`codecshards tokenize`."""

from __future__ import annotations

import argparse

from pipelines.cli import EXIT_OK, EXIT_SOME_FAILED, EXIT_WRONG, SOURCE_HELP


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.set_defaults(run=run)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    parser.add_argument(
        "out", metavar="OUT", help="output folder, local or anything fsspec writes to"
    )
    what = parser.add_argument_group("what is written (fixed at the first run on OUT)")
    what.add_argument(
        "--codec",
        default="facebook/encodec_48khz",
        help=(
            "hub id, save_pretrained folder, or a codec that ships with the package (default: "
            "%(default)s)"
        ),
    )
    what.add_argument("--revision", help="hub commit, tag or branch to pin")
    what.add_argument(
        "--bandwidth", type=float, default=6.0, metavar="KBPS", help="default: %(default)s"
    )
    what.add_argument(
        "--format", default="parquet", help="parquet or webdataset (default: %(default)s)"
    )
    what.add_argument(
        "--shard-hours",
        type=float,
        default=2.0,
        metavar="H",
        help="audio a shard (default: %(default)s)",
    )
    what.add_argument(
        "--split", default="train", help="split name in the shards' names (default: %(default)s)"
    )
    what.add_argument(
        "--downmix", action="store_true", help="mix more than two channels down instead of failing"
    )
    what.add_argument(
        "--allow-truncated", action="store_true", help="keep what is there of files that end early"
    )
    what.add_argument(
        "--follow-links",
        action="store_true",
        help="read also what links and paths in the data lead to outside of SOURCE",
    )
    what.add_argument(
        "--layout",
        metavar="NAME",
        help=(
            "take SOURCE for this layout (ljspeech, librispeech, libritts, vctk, commonvoice, "
            "audiofolder, kaldi, nemo, lhotse, ytdlp, stems), or for none: folder (default: as "
            "recognised)"
        ),
    )
    what.add_argument(
        "--layout-split", metavar="NAME", help="one split of a layout (default: all, in meta)"
    )
    what.add_argument(
        "--map",
        metavar="FIELD=COLUMN,…",
        help=(
            "columns of a table: path, id, text, speaker, language, start, end, duration; numbers "
            "from 1 where it has no header"
        ),
    )
    what.add_argument(
        "--audio-root", metavar="FOLDER", help="where relative paths of a table begin"
    )
    what.add_argument(
        "--delimiter", metavar="CHAR", help="of a table: a character, tab, comma, semicolon, pipe"
    )
    what.add_argument(
        "--allow-damaged",
        action="store_true",
        help="keep files in which something is missing, with silence there, noted in meta",
    )
    what.add_argument(
        "--max-chunk-seconds",
        type=float,
        default=300.0,
        metavar="S",
        help=(
            "longest recording for codecs without windows, which encode it in one piece (default: "
            "%(default)s)"
        ),
    )
    what.add_argument(
        "--precision",
        default="exact",
        help=(
            "exact, or on GPUs fast: TF32 but for the quantizer; changes some codes, says how "
            "many (default: %(default)s)"
        ),
    )
    how = parser.add_argument_group("how it is run (free to change from run to run)")
    how.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="CPU cores to use (default: all; 0: no Ray, one process)",
    )
    how.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs to use, one encoder each (default: all)"
    )
    how.add_argument(
        "--address", help="Ray cluster to join: auto or ray://HOST:PORT (default: this machine)"
    )
    how.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    how.add_argument(
        "--max-failures", type=int, metavar="N", help="stop when more than N recordings have failed"
    )
    how.add_argument(
        "--decode-timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds without progress until a decoder is killed (default: %(default)s)",
    )
    how.add_argument(
        "--reference",
        action="store_true",
        help="compute with transformers' own modules: the same codes, slower",
    )
    how.add_argument("--quiet", action="store_true", help="print nothing but errors")
    how.add_argument(
        "--audit",
        type=float,
        metavar="SHARE",
        help="audit this share of the recordings in passing, and report: 0.01 is 1%%",
    )


def run(options: argparse.Namespace) -> int:
    """The command."""
    from pipelines.output.config import RunOptions, TokenizeConfig
    from pipelines.run import tokenize_corpus

    config = TokenizeConfig(
        source=options.source,
        codec=options.codec,
        revision=options.revision,
        bandwidth=options.bandwidth,
        format=options.format,
        shard_hours=options.shard_hours,
        split=options.split,
        downmix=options.downmix,
        allow_truncated=options.allow_truncated,
        allow_damaged=options.allow_damaged,
        max_chunk_seconds=options.max_chunk_seconds,
        precision=options.precision,
        follow_links=options.follow_links,
        layout=options.layout,
        layout_split=options.layout_split,
        map=options.map,
        audio_root=options.audio_root,
        delimiter=options.delimiter,
    )
    how = RunOptions(
        workers=options.workers,
        gpus=options.gpus,
        address=options.address,
        device=options.device,
        max_failures=options.max_failures,
        decode_timeout=options.decode_timeout,
        quiet=options.quiet,
        reference=options.reference,
        audit=options.audit,
    )
    result = tokenize_corpus(config, options.out, how)
    if options.audit is not None and result.recordings and not _passes(options):
        return EXIT_WRONG
    return EXIT_SOME_FAILED if result.failures else EXIT_OK


def _passes(options: argparse.Namespace) -> bool:
    """Report on what was audited in passing; whether nothing is wrong."""
    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.report import render
    from pipelines.auditing.run import audit_share

    names = ("device", "workers", "gpus", "address", "decode_timeout", "quiet")
    # A pinned revision is stored with the corpus; without one the codec lies where it was just
    # loaded from.
    codec = None if options.revision else options.codec
    asked = AuditOptions(codec=codec, **{name: getattr(options, name) for name in names})
    done = audit_share(options.out, options.audit, asked)
    if not options.quiet:
        render(done.report)
    return done.passed
