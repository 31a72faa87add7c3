"""Exit codes whatever became of standard output and error: closed by the shell, or left by their
readers. Nothing is written but what was asked for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import write_corpus

from pipelines.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
STREAMS = {
    "| head -0": {1: "gone"},
    ">&-": {1: "closed"},
    "2>&-": {2: "closed"},
    "2>&1 | head -0": {1: "gone", 2: "gone"},
    "<&- >&- 2>&-": {0: "closed", 1: "closed", 2: "closed"},
}
COMMANDS = {
    "tokenize": ("tokenize CORPUS NEW --codec mulaw --workers 0", 3),
    "tokenize again": ("tokenize CORPUS OUT --codec mulaw --workers 0", 3),
    "refused": ("tokenize CORPUS OUT --codec mulaw --workers 0 --bandwidth 24", 2),
    "inspect": ("inspect OUT --json", 0),
    "verify": ("verify DAMAGED", 1),
    "decode": ("decode OUT 000.wav -o SOUND", 0),
    "audit": ("audit OUT --workers 0 --sample 1 --no-page", 0),
    "train-codec": ("train-codec CORPUS NEW --preset none", 2),
}
"""each with its exit code on a terminal"""


def ways_of(command: str) -> dict[str, dict[int, str]]:
    """The worst two for commands that decode audio, which take seconds."""
    return dict(list(STREAMS.items())[-2:]) if command in ("tokenize", "audit") else STREAMS


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("streams")
    names = ("CORPUS", "OUT", "DAMAGED")
    there = {name: str(root / name.lower()) for name in names} | {"SOUND": str(root / "x.wav")}
    write_corpus(Path(there["CORPUS"]), 2)
    made = ["tokenize", there["CORPUS"], there["OUT"], "--codec", "mulaw", "--workers", "0"]
    assert main([*made, "--quiet"]) == 3
    shutil.copytree(there["OUT"], there["DAMAGED"])
    next(Path(there["DAMAGED"], "data").iterdir()).unlink()
    return there


FORKS = """
import json, os, sys, traceback
sys.path.insert(0, ROOT)
import pipelines.auditing.run, pipelines.corpus.training_pack, pipelines.output.export_audio
import pipelines.run, tokenizer.training.command
from pipelines.cli.main import main

def start(arguments, streams, log):
    said = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.set_inheritable(os.dup2(said, 100), False)
    for number, what in streams.items():
        if what == "closed":
            os.close(int(number))
        else:
            read, write = os.pipe()
            os.dup2(write, int(number))
            os.close(read)
            os.close(write)
    for number, name in ((1, "stdout"), (2, "stderr")):
        what = streams.get(str(number))
        stream = None if what == "closed" else open(number, "w", closefd=False)
        setattr(sys, name, stream)
    try:
        code = main(arguments)
        for stream in (sys.stdout, sys.stderr):  # as the interpreter does at its end
            if stream is not None:
                stream.flush()
    except BaseException:
        os.write(100, traceback.format_exc().encode())
        code = 120
    os._exit(code)

for arguments, streams, log in json.load(open(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        start(arguments, streams, log)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""A process that forks one for each run, so that imports, most of a short command's time, are done
once."""


@pytest.fixture(scope="module")
def ends(places: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """Exit codes of every command, in the order of `ways_of` it."""
    root = tmp_path_factory.mktemp("ends")
    runs = []
    for command, (words, _) in COMMANDS.items():
        for number, streams in enumerate(ways_of(command).values()):
            here = {**places, "NEW": str(root / f"{command}{number}")}
            runs.append(
                [[here.get(word, word) for word in words.split()], streams, str(root / "log")]
            )
    (root / "runs.json").write_text(json.dumps(runs))
    script = f"ROOT = {str(ROOT)!r}\n{FORKS}"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(root / "runs.json")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not (root / "log").read_text()
    assert "Traceback" not in ended.stderr + ended.stdout
    found = [int(line[6:]) for line in ended.stdout.splitlines() if line.startswith("ended ")]
    codes = iter(found)
    return {name: [next(codes) for _ in ways_of(name)] for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_exit_codes_survive_closed_streams(ends: dict[str, list[int]], command: str) -> None:
    codes = dict(zip(ways_of(command), ends[command], strict=True))
    assert codes == dict.fromkeys(codes, COMMANDS[command][1])


@pytest.mark.parametrize("streams", ["| head -0", ">&- 2>&-"])
def test_a_shell_sees_the_same(places: dict[str, str], streams: str) -> None:
    line = f"{sys.executable} -m codecshards verify {places['DAMAGED']} {streams}"
    ended = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["ls OUT", "inspect OUT", "verify OUT"])
def test_a_full_disk_behind_standard_output_is_told_in_one_line(
    places: dict[str, str], command: str
) -> None:
    """What was asked for is not there: that is no success, and no traceback."""
    words = [places.get(word, word) for word in command.split()]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-m", "codecshards", *words],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    said = "codecshards: standard output cannot be written: No space left on device"
    assert (ended.returncode, ended.stderr.splitlines()) == (2, [said])


def test_an_out_without_a_name_is_refused(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    """As of a shell's variable that is not set: all would be written to where one stands."""
    monkeypatch.chdir(tmp_path)
    assert main(["tokenize", places["CORPUS"], "", "--codec", "mulaw", "--workers", "0"]) == 2
    assert "OUT is empty" in capsys.readouterr().err and not list(tmp_path.iterdir())
