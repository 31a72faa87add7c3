"""The command as a user meets it: exit codes, one line a mistake, and interruptions that end
cleanly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpora import Maker, write_corpus

from pipelines.cli.main import main

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_the_whole_round(make_corpus: Maker, tmp_path: Path) -> None:
    corpus, out = str(make_corpus(count=4)), str(tmp_path / "out")
    ended = run("tokenize", corpus, out, "--codec", "mulaw", "--workers", "0", "--bandwidth", "3")
    assert ended.returncode == 3, ended.stderr
    assert "1 recordings failed" in ended.stderr
    assert run("verify", out).returncode == 0
    summary = json.loads(run("inspect", out, "--json").stdout)
    assert summary["codec"]["n_q"] == 2 and summary["failures"][0]["kind"] == "truncated"
    assert "broken.wav" in run("inspect", out, "--failures").stdout
    decoded = run("decode", out, "000.wav", "-o", str(tmp_path / "x.wav"))
    assert decoded.returncode == 0 and re.search(r"\d+ samples at 48000 Hz", decoded.stdout)
    next((tmp_path / "out" / "data").iterdir()).unlink()
    broken = run("verify", out)
    assert broken.returncode == 1 and "missing" in broken.stdout


def test_a_command_loads_only_what_it_uses(tmp_path: Path) -> None:
    """Each of these takes a third of a second to load, and more, as much as all the rest."""
    corpus = write_corpus(tmp_path / "corpus", 1, broken=False)
    out = str(tmp_path / "out")
    for arguments in (
        ["tokenize", str(corpus), out, "--codec", "mulaw", "--workers", "0"],
        ["verify", out],
    ):
        command = [sys.executable, "-X", "importtime", "-m", "codecshards", *arguments]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
        assert "pyarrow" in loaded
        # Of pandas itself there is the line of an import that found nothing.
        assert not loaded & {"pandas.core", "numba", "torch", "transformers", "datasets", "ray"}


def test_all_fine_is_exit_code_0(
    make_corpus: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = str(make_corpus(count=2, broken=False))
    assert (
        main(["tokenize", corpus, str(tmp_path / "out"), "--codec", "mulaw", "--workers", "0"]) == 0
    )
    assert (
        main(
            [
                "tokenize",
                corpus,
                str(tmp_path / "out"),
                "--codec",
                "mulaw",
                "--workers",
                "0",
                "--quiet",
            ]
        )
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenize", "MISSING", "OUT", "--codec", "mulaw"], "no such folder"),
        (
            ["tokenize", "CORPUS", "OUT", "--codec", "mulaw", "--bandwidth", "5"],
            "choose one of 3, 6, 12, 24",
        ),
        (["tokenize", "CORPUS", "OUT", "--codec", "mulaw", "--format", "csv"], "--format csv"),
        (["tokenize", "CORPUS", "OUT", "--codec", "mulaw", "--shard-hours", "0"], "--shard-hours"),
        (["tokenize", "CORPUS", "OUT", "--codec", "mulaw", "--device", "tpu"], "--device tpu"),
        (["tokenize", "CORPUS", "OUT", "--codec", "CORPUS"], "no config.json"),
        (
            ["tokenize", "CORPUS", "/proc/nowhere/out", "--codec", "mulaw", "--workers", "0"],
            "cannot be written",
        ),
        (
            ["tokenize", "CORPUS", "/tmp/nowhere/\udcff", "--codec", "mulaw", "--workers", "0"],
            "not UTF-8",
        ),
        (["tokenize", "EMPTY", "OUT", "--codec", "mulaw"], "no recordings"),
        (["inspect", "CORPUS"], "not an output of"),
        (["verify", "MISSING"], "not an output of"),
        (["decode", "MISSING", "x", "-o", "x.wav"], "not an output of"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    make_corpus: Maker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "empty").mkdir()
    places = {
        "CORPUS": str(make_corpus(count=1)),
        "OUT": str(tmp_path / "out"),
        "MISSING": str(tmp_path / "missing"),
        "EMPTY": str(tmp_path / "empty"),
    }
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("codecshards: ") and words in error[-1]
    assert not (tmp_path / "out").exists()


def test_a_missing_hub_codec_is_one_line_and_exit_code_2(
    make_corpus: Maker, tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "tokenize",
        str(make_corpus(count=1)),
        str(tmp_path / "out"),
    ]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and "hf download facebook/encodec_48khz" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminal has gone"),
    ],
)
def test_interruptions_end_within_seconds_and_say_how_to_resume(
    tmp_path: Path, number: int, code: int, word: str
) -> None:
    corpus, out = write_corpus(tmp_path / "corpus", 90), tmp_path / "out"
    arguments = [
        "tokenize",
        str(corpus),
        str(out),
        "--codec",
        "mulaw",
        "--workers",
        "0",
        "--shard-hours",
        "0.002",
    ]
    process = start(*arguments)
    deadline = time.monotonic() + 60
    while not list(out.glob("manifest/commits/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == code, error
    assert "run the same command again" in error and word in error and "Traceback" not in error
    assert not list(out.rglob("*.tmp"))
    assert run(*arguments).returncode == 3
    assert run("verify", str(out)).returncode == 0


INSTALLED = ["-P", "-c", "import sys; from codecshards.__main__ import main; sys.exit(main())"]
"""as the installed command is started, which does not search the working folder either"""


@pytest.mark.parametrize(
    ("way", "paths", "workers"),
    [
        (INSTALLED, "{root}", "0"),
        (INSTALLED, ":{root}", "0"),
        (INSTALLED, "{root}:", "1"),
        (INSTALLED, "{root}:./:../project", "0"),
        (["-m", "codecshards"], "{root}", "0"),
        (["-m", "codecshards"], "{root}::", "0"),
    ],
)
def test_files_beside_the_user_are_never_run(
    make_corpus: Maker, tmp_path: Path, way: list[str], paths: str, workers: str
) -> None:
    """Neither by the command, nor the decoder's process, nor Ray's, whatever modules of ours or of
    Python's they are called like; an empty part of PYTHONPATH is the working folder."""
    corpus, beside = make_corpus(count=2, broken=False), tmp_path / "project"
    beside.mkdir()
    for name in ("tokenizer", "pipelines", "tokenize", "queue", "statistics", "pickle"):
        (beside / f"{name}.py").write_text(
            f"open('ran-{name}', 'w').close()\nraise SystemExit('a file of the user')\n"
        )
    out = str(tmp_path / "out")
    arguments = ["tokenize", str(corpus), out, "--codec", "mulaw", "--workers", workers]
    ended = subprocess.run(
        [sys.executable, *way, *arguments],
        cwd=beside,
        env={**os.environ, "PYTHONPATH": paths.format(root=ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not list(beside.glob("ran-*"))


def test_a_reader_that_goes_away_is_no_error(make_corpus: Maker, tmp_path: Path) -> None:
    corpus, out = str(make_corpus(count=2)), str(tmp_path / "out")
    assert main(["tokenize", corpus, out, "--codec", "mulaw", "--workers", "0", "--quiet"]) == 3
    shell = f"{sys.executable} -m pipelines inspect {out} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0 and "Traceback" not in ended.stderr


@pytest.mark.parametrize("place", ["manifest/commits/*.json", "data/*.parquet"])
def test_a_file_that_cannot_be_opened_is_one_line_that_names_it(
    make_corpus: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """As somebody else's that nobody may read is; permissions would mean nothing to root."""
    corpus, out = str(make_corpus(count=2)), tmp_path / "out"
    made = ["tokenize", corpus, str(out), "--codec", "mulaw", "--workers", "0", "--quiet"]
    assert main(made) == 3
    (file,) = out.glob(place)
    file.unlink()
    file.symlink_to(file.name)
    capsys.readouterr()
    for command in (["ls", str(out)], made):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("codecshards: ") and str(file) in line
    if "data" in place:
        assert main(["verify", str(out)]) == 1
        assert "its file cannot be read" in capsys.readouterr().out


def test_without_a_working_folder_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.chdir({str(tmp_path / 'gone')!r});"
        "os.rmdir(os.getcwd()); from codecshards.__main__ import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and "working folder is not there" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_ctrl_c_while_modules_are_imported_is_one_line() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import codecshards.own as own, signal;"
        "own.own_packages = lambda: signal.raise_signal(signal.SIGINT);"
        "from codecshards.__main__ import main; sys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 130 and ended.stderr == "codecshards: interrupted\n"


def test_help_and_version_name_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["tokenize", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
    text = capsys.readouterr().out
    for word in (
        "tokenize",
        "inspect",
        "verify",
        "decode",
        "--shard-hours",
        "--allow-truncated",
        "--max-failures",
        "--revision",
    ):
        assert word in text
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("codecshards ")
