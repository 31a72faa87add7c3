"""The whole path on a small corpus made on the spot: `make demo`.

Writes a corpus, tokenizes it with the codec that ships with the package, shows what came out,
checks it, and decodes one recording. Takes about a minute.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

FOLDER = Path("demo")
EXAMPLES = Path(__file__).resolve().parent
SOME_FAILED = 3
"""exit code of a run that finished and reported recordings that failed"""


def main() -> int:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    out = FOLDER / "out"
    shutil.rmtree(out, ignore_errors=True)
    say("A corpus of many formats, with two files in it that are broken on purpose:")
    run(sys.executable, str(EXAMPLES / "make_demo_corpus.py"), str(FOLDER / "corpus"))
    say(
        "Tokenize with the codec that ships with the package; exit code 3 means: finished, some "
        "recordings failed and are listed:"
    )
    run(
        "codecshards",
        "tokenize",
        str(FOLDER / "corpus"),
        str(out),
        "--codec",
        "small",
        ok=(0, SOME_FAILED),
    )
    say("Once more: everything is committed, so there is nothing left to do:")
    run(
        "codecshards",
        "tokenize",
        str(FOLDER / "corpus"),
        str(out),
        "--codec",
        "small",
        ok=(0, SOME_FAILED),
    )
    say("What is in there:")
    run("codecshards", "inspect", str(out), "--failures")
    run("codecshards", "verify", str(out))
    show_rows(out)
    decode_one(out)
    return 0


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def run(*command: str, ok: tuple[int, ...] = (0,)) -> None:
    """Run a command as a user would type it; stop the demo when it does not end as expected."""
    shown = ["python" if part == sys.executable else part for part in command]
    print(f"$ {shlex.join(shown)}", flush=True)
    if command[0] == "codecshards":
        command = (sys.executable, "-m", "pipelines", *command[1:])
    code = subprocess.run(command, check=False).returncode
    if code not in ok:
        sys.exit(f"the demo stopped: exit code {code}")


def show_rows(out: Path) -> None:
    say(
        "The shards are ordinary Parquet; pyarrow, pandas, DuckDB or datasets read them without "
        "this package:"
    )
    table = pq.ParquetDataset(out / "data").read(
        columns=["id", "codes", "scales", "num_samples", "text"]
    )
    for row in table.slice(0, 4).to_pylist():
        shape = f"codes [{len(row['codes'])}, {len(row['codes'][0])}]"
        print(
            f"  {row['id']:<28} {shape:<18} {len(row['scales'])} scales, {row['num_samples']} "
            f"samples, text {row['text']!r}"
        )


def decode_one(out: Path) -> None:
    say("Codes back to audio, at the exact length:")
    first = pq.ParquetDataset(out / "data").read(columns=["id"])["id"][0].as_py()
    run("codecshards", "decode", str(out), first, "-o", str(FOLDER / "decoded.wav"))


if __name__ == "__main__":
    sys.exit(main())
