"""`codecshards audit`."""

from __future__ import annotations

import argparse

from pipelines.auditing.measure.registry import MEASURES, Better, Measure, default_metrics
from pipelines.cli import EXIT_OK, EXIT_WRONG


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "out", metavar="OUT", help="output folder of `tokenize`; the audit goes to OUT/audit"
    )
    which = parser.add_argument_group("which recordings")
    which.add_argument(
        "--sample",
        type=int,
        default=20,
        metavar="N",
        help="default: %(default)s, and N/4 of the worst on top",
    )
    which.add_argument("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    which.add_argument("--ids", nargs="+", default=[], metavar="ID", help="exactly these")
    which.add_argument("--all", action="store_true", help="all of them")
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--metrics",
        default=",".join(default_metrics()),
        metavar="A,B,…",
        help=f"of {', '.join(map(_hinted, MEASURES.values()))} (default: %(default)s)",
    )
    what.add_argument(
        "--reencode",
        action="store_true",
        help="encode each source again, compare codes, name what is wrong",
    )
    for row in sorted(MEASURES.values(), key=lambda row: row.better is not Better.HIGHER):
        what.add_argument(
            f"--{row.limit_option}",
            type=float,
            metavar="X",
            help=f"exit code 1 when the mean{_of(row)} is {_beyond(row)} X",
        )
    how = parser.add_argument_group("how it is run")
    how.add_argument(
        "--no-page", action="store_true", help="figures only: no audio, no images, no page"
    )
    how.add_argument(
        "--clip-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="longest stretch to listen to (default: %(default)s)",
    )
    how.add_argument(
        "--codec", help="where the codec lies now, if it has moved (its weights must be the same)"
    )
    how.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    how.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="CPU cores to use (default: all; 0: no Ray, one process)",
    )
    how.add_argument("--gpus", type=int, metavar="N", help="GPUs to use (default: all)")
    how.add_argument(
        "--address", help="Ray cluster to join: auto or ray://HOST:PORT (default: this machine)"
    )
    how.add_argument(
        "--quiet", action="store_true", help="no progress; the figures are printed all the same"
    )


def _hinted(row: Measure) -> str:
    return f"{row.name} ({row.hint})" if row.hint else row.name


def _of(row: Measure) -> str:
    return " of its size" if row.better is Better.ZERO else ""


def _beyond(row: Measure) -> str:
    return "below" if row.better is Better.HIGHER else "above"


def run(options: argparse.Namespace) -> int:
    """The command."""
    from pipelines.auditing.options import AuditOptions
    from pipelines.auditing.report import render
    from pipelines.auditing.run import audit

    limits = {
        name: getattr(options, row.limit_option.replace("-", "_")) for name, row in MEASURES.items()
    }
    asked = AuditOptions(
        sample=options.sample,
        ids=tuple(options.ids),
        all=options.all,
        seed=options.seed,
        metrics=tuple(name.strip() for name in options.metrics.split(",") if name.strip()),
        reencode=options.reencode,
        limits={metric: limit for metric, limit in limits.items() if limit is not None},
        page=not options.no_page,
        clip_seconds=options.clip_seconds,
        codec=options.codec,
        device=options.device,
        workers=options.workers,
        gpus=options.gpus,
        address=options.address,
        quiet=options.quiet,
    )
    done = audit(options.out, options=asked)
    render(done.report)
    return EXIT_OK if done.passed else EXIT_WRONG
