"""Flips and cuts in tars and tables, against readers that share no code with the package: what is
lost must be said.

    python benchmarks/fuzz_sources.py [--count 2000] [--seed 0] [--out
    benchmarks/results/fuzz_sources.md]

Each trial writes a corpus, damages it (a flipped bit, a changed byte, a cut, bytes put in), and
lists it. It is right when every recording of the undamaged corpus is listed as it was, or a
rejected item, a refusal or a changed value stands in for it. A value that the damage itself changed
(one letter of a transcript) cannot be told by any reader and is counted apart: `tarfile`, `csv`,
`json` and `pyarrow` must then read that same value.
"""

from __future__ import annotations

import argparse
import collections
import csv
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.sources import open_source
from tokenizer.errors import SourceError
from tokenizer.types import Recording

ROWS = 12
Facts = tuple[str, str | None]
"""the name of a recording's file, and its transcript"""


def words(number: int) -> str:
    return [
        "plain words",
        'with "quotes" inside',
        '"opened and not closed',
        "commas, and more",
        "tail\u00e9",
    ][number % 5] + f" {number}"


def make_tar(form: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for number in range(ROWS):
            stem = f"{'folder/' * (number % 3)}{'n' * (120 if number % 4 == 3 else 1)}{number}"
            for ending, content in (
                ("wav", bytes([number]) * (400 + 90 * number)),
                ("txt", words(number).encode()),
            ):
                member = tarfile.TarInfo(
                    f"{stem}.{ending}" if form != tarfile.USTAR_FORMAT else f"{number}.{ending}"
                )
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def make_csv(delimiter: str) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerows([("path", "text"), *((f"{n}.wav", words(n)) for n in range(ROWS))])
    return sink.getvalue().encode()


def make_tsv() -> bytes:
    return ("path\ttext\n" + "".join(f"{n}.wav\t{words(n)}\n" for n in range(ROWS))).encode()


def make_jsonl() -> bytes:
    return "".join(
        json.dumps({"path": f"{n}.wav", "text": words(n)}) + "\n" for n in range(ROWS)
    ).encode()


def make_parquet() -> bytes:
    sink = io.BytesIO()
    cells = pa.array(
        [{"bytes": bytes([n]) * 50, "path": f"{n}.wav"} for n in range(ROWS)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table(
        {
            "id": [f"{n}.wav" for n in range(ROWS)],
            "text": [words(n) for n in range(ROWS)],
            "audio": cells,
        }
    )
    pq.write_table(table, sink, row_group_size=5, write_page_checksum=True)
    return sink.getvalue()


KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tar, ustar": ("tar", lambda: make_tar(tarfile.USTAR_FORMAT)),
    "tar, GNU": ("tar", lambda: make_tar(tarfile.GNU_FORMAT)),
    "tar, PAX": ("tar", lambda: make_tar(tarfile.PAX_FORMAT)),
    "CSV": ("csv", lambda: make_csv(",")),
    "CSV by semicolons": ("csv", lambda: make_csv(";")),
    "TSV, unquoted": ("tsv", make_tsv),
    "JSON lines": ("jsonl", make_jsonl),
    "Parquet": ("parquet", make_parquet),
}


def damage(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One fault of disks and copies."""
    at, spoiled = int(rng.integers(len(content))), bytearray(content)
    match int(rng.integers(4)):
        case 0:
            spoiled[at] ^= 1 << int(rng.integers(8))
            return "flip", bytes(spoiled)
        case 1:
            spoiled[at] = int(rng.integers(256))
            return "byte", bytes(spoiled)
        case 2:
            return "cut", content[:at]
        case _:
            length = int(rng.integers(1, 40))
            spoiled[at : at + length] = b""
            return "gap", bytes(spoiled)


def listed(path: Path) -> tuple[list[Recording], int, str]:
    """Recordings, how many were rejected (a note on a last line without end counts), and why all
    was refused, if it was."""
    try:
        source = open_source(str(path))
        found = list(source.scan())
    except SourceError as error:
        return [], 0, str(error)
    bad = [recording for recording in found if "rejected" in recording.locator]
    noted = sum("no line end" in note for note in source.notes)
    return [recording for recording in found if recording not in bad], len(bad) + noted, ""


def facts(recording: Recording) -> Facts:
    return str(recording.locator.get("member", recording.id)), recording.text


def independent(kind: str, content: bytes) -> Iterator[Facts]:
    """The same, as the standard library or pyarrow reads damaged content; nothing where it reads
    nothing."""
    ending = KINDS[kind][0]
    try:
        if ending == "tar":
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                read = {
                    member.name: archive.extractfile(member).read()
                    for member in archive
                    if member.isfile()
                }  # type: ignore[union-attr]
            for name in read:
                if name.endswith(".wav"):
                    text = read.get(name.removesuffix(".wav") + ".txt")
                    yield name, None if text is None else text.decode("utf-8", "replace").strip()
        elif ending == "parquet":
            for row in (
                pq.ParquetFile(io.BytesIO(content), pre_buffer=False)
                .read(use_threads=False)
                .to_pylist()
            ):
                yield row["id"], row["text"]
        else:
            for line in content.decode("utf-8", "replace").split("\n"):
                yield from independent_line(kind, line)
    except (
        tarfile.TarError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        pa.ArrowException,
        OSError,
        csv.Error,
    ):
        return


def independent_line(kind: str, line: str) -> Iterator[Facts]:
    """One line of a table; nothing where it is no row of an audio file."""
    try:
        if kind == "JSON lines":
            row = json.loads(line)
            name, text = row["path"], row.get("text")
        else:
            separator = {"CSV": ",", "CSV by semicolons": ";"}.get(kind, "\t")
            name, text = (
                line.split("\t")
                if separator == "\t"
                else next(csv.reader([line], delimiter=separator, strict=True))
            )
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error, StopIteration):
        return
    if str(name).endswith(".wav"):
        yield name, text


def trial(kind: str, folder: Path, rng: np.random.Generator) -> tuple[str, str, str]:
    """How it was damaged, what became of it, and a description where that is wrong."""
    ending, make = KINDS[kind]
    path, whole = folder / f"x.{ending}", make()
    path.write_bytes(whole)
    wanted = collections.Counter(facts(recording) for recording in listed(path)[0])
    how, spoiled = damage(whole, rng)
    path.write_bytes(spoiled)
    good, rejected, refused = listed(path)
    found = collections.Counter(facts(recording) for recording in good)
    if refused:
        return how, "refused", ""
    if found == wanted:
        return how, "as before", ""
    if rejected:
        return how, "told by failures", ""
    if sum(found.values()) == sum(wanted.values()):
        return how, "a value changed", ""
    # A table that lacks whole lines is a table: what any reader finds in it must have been found.
    theirs = collections.Counter(name for name, _ in independent(kind, spoiled))
    ours = collections.Counter(name for name, _ in found.elements())
    if ending in ("csv", "tsv", "jsonl") and not theirs - ours:
        return how, "a shorter table", ""
    return (
        how,
        "SILENT",
        f"{kind}, {how}: {sorted(wanted - found)[:2]} …; another reader finds "
        f"{sorted(theirs - ours)[:3]} too",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2000, help="trials of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    outcomes = (
        "as before",
        "told by failures",
        "refused",
        "a value changed",
        "a shorter table",
        "SILENT",
    )
    lines = [
        "# Flips and cuts in tars and tables",
        "",
        f"`python benchmarks/fuzz_sources.py --count {options.count} --seed {options.seed}`",
        "",
        "| kind | trials | " + " | ".join(outcomes) + " |",
        "|---|" + "---:|" * (len(outcomes) + 1),
    ]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(KINDS):
            rng = np.random.default_rng([options.seed, number])
            counts: collections.Counter[str] = collections.Counter()
            for _ in range(options.count):
                _, outcome, description = trial(kind, Path(folder), rng)
                counts[outcome] += 1
                wrong += [description] if description else []
            lines.append(
                f"| {kind} | {options.count} | "
                + " | ".join(str(counts[outcome]) for outcome in outcomes)
                + " |"
            )
            print(lines[-1], flush=True)
    lines += [
        "",
        "`a value changed`: as many recordings as before, and a name or a word is another: no "
        "format here has a checksum of",
    ]
    lines += [
        "those (Parquet's pages have, and are refused). `SILENT`: fewer recordings and not a word.",
        *wrong[:20],
    ]
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(wrong[:20]))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
