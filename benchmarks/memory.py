"""Peak memory and processor time of the commands that change, derive, export and decode a large
output folder, each in a fresh process, for two sizes: what does not grow is bounded.

    python -m benchmarks.memory [--rows 50000 200000] [--work FOLDER]

Rows are a second of random codes, 1,000 in a shard, with texts and speakers.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.codes_data import random_row
from benchmarks.machine import machine
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row, make_footer
from tokenizer.codecs.mulaw import describe_mulaw

SPEC = describe_mulaw(6.0)
IN_A_SHARD = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--work", help="folder for the inputs, which stay there")
    parser.add_argument("--stages", default=",".join(STAGES), help="default: all")
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        name, folder = asked.stage
        STAGES[name](Path(folder))
        used = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = used.ru_utime + used.ru_stime + children.ru_utime + children.ru_stime
        print(json.dumps([seconds, used.ru_maxrss / 1024]))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        report(Path(asked.work or scratch), asked.rows, asked.stages.split(","))
    return 0


def report(work: Path, sizes: list[int], stages: list[str]) -> None:
    """Print the table, as Markdown."""
    print("# Memory of large output folders\n")
    print(f"    python -m benchmarks.memory --rows {' '.join(map(str, sizes))}\n")
    print(f"{machine()}. CPU seconds and peak MiB of a fresh process.\n")
    print("| command | " + " | ".join(f"{size:,} rows" for size in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    folders = [made(work / f"rows-{size}", size) for size in sizes]
    for stage in stages:
        cells = [measured(stage, folder) for folder in folders]
        print(f"| {stage} | " + " | ".join(cells) + " |", flush=True)


def measured(stage: str, folder: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.memory", "--stage", stage, str(folder)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, peak = json.loads(ended.stdout.splitlines()[-1])
    return f"{seconds:.1f} s, {peak:.0f} MiB"


def made(folder: Path, rows: int) -> Path:
    """An output folder of so many rows; `adopt` has made its manifest."""
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out" / "data").mkdir(parents=True)
    footer, shards = make_footer(SPEC, "1"), -(-rows // IN_A_SHARD)
    few = [random_row(number, 1.0, SPEC) for number in range(256)]
    for shard in range(shards):
        path = folder / "out" / "data" / f"train-{shard:05d}-of-{shards:05d}.parquet"
        shard_format("parquet").write(str(path), some(few, shard, rows), footer)
    measured("adopt", folder)
    (folder / "done").touch()
    return folder


def some(few: list[Row], shard: int, rows: int) -> Iterator[Row]:
    for number in range(shard * IN_A_SHARD, min((shard + 1) * IN_A_SHARD, rows)):
        yield replace(
            few[number % len(few)],
            id=f"speaker-{number % 997:04d}/book-{number // 100:06d}/{number:08d}.flac",
            source_uri=f"/corpus/speaker-{number % 997:04d}/{number:08d}.flac",
            text=f"These are the {number} words that somebody has read out for recording.",
            speaker=f"speaker-{number % 997:04d}",
            language=("en", "de", "cy")[number % 3],
        )


def fresh(folder: Path, name: str) -> str:
    shutil.rmtree(folder / name, ignore_errors=True)
    return str(folder / name)


def adopt(folder: Path) -> None:
    from pipelines.reshaping.adopting import adopt_codes

    if (folder / "out" / "manifest").exists():
        shutil.copytree(folder / "out" / "data", Path(fresh(folder, "adopted"), "data"))
        adopt_codes(str(folder / "adopted"))
    else:
        adopt_codes(str(folder / "out"))


def ls(folder: Path) -> None:
    from pipelines.output.rows import Rows

    print(sum(1 for _ in Rows(str(folder / "out")).rows(["id", "text"], "language = 'de'")))


def verify(folder: Path) -> None:
    from pipelines.output.verify import verify

    found = verify(str(folder / "out"))
    if found:
        raise SystemExit(str(found[0]))


def filter_(folder: Path) -> None:
    from pipelines.reshaping.commands import filter_codes

    filter_codes(str(folder / "out"), fresh(folder, "new"), where="language <> 'de'")


def split(folder: Path) -> None:
    from pipelines.reshaping.commands import split_codes

    split_codes(str(folder / "out"), fresh(folder, "parts"), valid=0.05, by="speaker")


def merge(folder: Path) -> None:
    from pipelines.reshaping.commands import filter_codes, merge_codes

    rest = folder / "rest"
    if not rest.exists():
        filter_codes(str(folder / "out"), str(rest), where="language = 'de'")
    merge_codes([str(folder / "new"), str(rest)], fresh(folder, "both"))


def reshard(folder: Path) -> None:
    from pipelines.reshaping.commands import reshard_codes

    reshard_codes(str(folder / "out"), fresh(folder, "shuffled"), shuffle=1)


def edit(folder: Path) -> None:
    from pipelines.reshaping.edits.editing import correct_codes

    shutil.rmtree(folder / "edited", ignore_errors=True)
    shutil.copytree(folder / "out", folder / "edited")
    table = folder / "table.csv"
    with table.open("w") as file:
        file.write("id,text\n")
        for row in ids(folder):
            file.write(f"{row},corrected\n")
    correct_codes(str(folder / "edited"), str(table))


def ids(folder: Path) -> Iterator[str]:
    from pipelines.output.rows import Rows

    return (str(row["id"]) for row in Rows(str(folder / "out")).rows(["id"]))


def drop(folder: Path) -> None:
    from pipelines.reshaping.edits.editing import drop_codes

    drop_codes(str(folder / "edited"), where="language = 'cy'")


def export(folder: Path) -> None:
    from pipelines.exporting.export import export_codes

    export_codes(str(folder / "out"), fresh(folder, "lm"), to="megatron", quiet=True)


def decode(folder: Path) -> None:
    """One row of a thousand; names and the ledger are those of all."""
    from pipelines.decoding.many import decode_many

    where = "id like '%000.flac'"
    decode_many(
        str(folder / "out"), fresh(folder, "wavs"), where=where, workers=0, device="cpu", quiet=True
    )


STAGES: dict[str, Callable[[Path], None]] = {
    "adopt": adopt,
    "ls --where": ls,
    "verify": verify,
    "filter": filter_,
    "split --by speaker": split,
    "merge": merge,
    "reshard --shuffle": reshard,
    "edit --set of every row": edit,
    "edit --drop-where of a third": drop,
    "export --to megatron": export,
    "decode --where of a thousandth": decode,
}


if __name__ == "__main__":
    sys.exit(main())
