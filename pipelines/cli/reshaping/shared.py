"""What the commands have in common that make an output folder of others."""

from __future__ import annotations

import argparse

OUT_HELP = "output folder, which stays as it is"
NEW_HELP = "folder or URL of the new one; run the command again to go on"
FORMAT_HELP = "of the new folder: parquet or webdataset (default: as it is)"
BANDWIDTH_HELP = "keep the first codebooks alone (default: all)"
N_Q_HELP = "the same by their number"


def add_size(parser: argparse.ArgumentParser) -> None:
    """Give a parser the size of shards, and what all of these commands have."""
    parser.add_argument(
        "--shard-hours", type=float, metavar="H", help="audio a shard (default: as it is)"
    )
    parser.add_argument("--shard-mb", type=float, metavar="MB", help="megabytes a shard instead")
    parser.add_argument("--quiet", action="store_true", help="no word of progress")
