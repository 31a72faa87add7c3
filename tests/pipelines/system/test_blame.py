"""Who is at fault when a process dies: without any process, but for the one that leaves its last
words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli.main import main
from pipelines.output.manifest.commits import Manifest
from pipelines.system import blame
from pipelines.system.blame import (
    EXIT_NO_MEMORY,
    LIMITS,
    Death,
    DeathKind,
    LastWords,
    Trial,
    of_exit,
)

ROOT = Path(__file__).resolve().parents[3]
DEATHS = st.sampled_from(DeathKind).map(lambda kind: Death(kind, "x"))


@given(st.lists(st.tuples(DEATHS, st.booleans())))
def test_only_deaths_alone_count_and_each_kind_to_its_own_limit(
    deaths: list[tuple[Death, bool]],
) -> None:
    trial, counts = Trial("a"), dict.fromkeys(DeathKind, 0)
    for death, alone in deaths:
        counts[death.kind] += alone
        guilty = alone and counts[death.kind] >= LIMITS.get(death.kind, 1_000_000)
        assert (trial.died(death, alone) is not None) == guilty


def test_thirty_kills_of_any_mixture_condemn_nobody() -> None:
    trial = Trial("a")
    for death in [Death(DeathKind.KILLED, "SIGKILL"), Death(DeathKind.LOST, "its node")] * 15:
        assert trial.died(death, alone=True) is None
    assert trial.pause == 0


def test_memory_is_told_as_memory_and_waits_between_tries() -> None:
    trial, death = Trial("a"), Death(DeathKind.MEMORY, "SIGKILL")
    pauses = []
    for _ in range(4):
        assert trial.died(death, alone=True) is None
        pauses.append(trial.pause)
    assert pauses == sorted(pauses) and pauses[-1] > 0
    assert "ran out of memory" in (trial.died(death, alone=True) or "")


@pytest.mark.parametrize(
    ("code", "kills", "kind"),
    [
        (-signal.SIGSEGV, 0, DeathKind.CRASHED),
        (-signal.SIGABRT, 3, DeathKind.CRASHED),
        (1, 0, DeathKind.CRASHED),
        (0, 0, DeathKind.CRASHED),
        (-signal.SIGKILL, 0, DeathKind.KILLED),
        (-signal.SIGKILL, 1, DeathKind.MEMORY),
        (-signal.SIGTERM, 1, DeathKind.KILLED),
        (-63, 0, DeathKind.KILLED),
        (EXIT_NO_MEMORY, 0, DeathKind.MEMORY),
    ],
)
def test_exit_codes_tell_ones_own_doing_from_anothers(
    code: int, kills: int, kind: DeathKind
) -> None:
    assert of_exit(code, kills).kind is kind


ENDS = {
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", DeathKind.KILLED, "SIGKILL"),
    "abort": ("os.abort()", DeathKind.CRASHED, "Aborted"),
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", DeathKind.CRASHED, "Segmentation fault"),
    "no memory": (
        "words.say(OUT_OF_MEMORY); os._exit(EXIT_NO_MEMORY)",
        DeathKind.MEMORY,
        "an allocation failed",
    ),
    "said": ("words.say('a GPU has failed'); os._exit(1)", DeathKind.CRASHED, "a GPU has failed"),
}


@pytest.mark.parametrize("end", ENDS)
def test_last_words_tell_a_crash_from_a_kill(tmp_path: Path, end: str) -> None:
    code, kind, what = ENDS[end]
    start = (
        "import os, signal, sys; from pathlib import Path; from pipelines.system.blame import "
        "EXIT_NO_MEMORY, OUT_OF_MEMORY, LastWords; "
    )
    program = start + f"words = LastWords(Path(sys.argv[1])); {code}"
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x" / "words")],
        cwd=ROOT,
        check=False,
        stderr=subprocess.DEVNULL,
    )
    assert LastWords.read(tmp_path / "x" / "words") == Death(kind, what)


def test_last_words_name_memory_when_the_kernel_has_killed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words").write_text("3\n")
    monkeypatch.setattr(blame, "memory_kills", lambda: 4)
    assert LastWords.read(tmp_path / "words").kind is DeathKind.MEMORY


def test_who_left_nothing_had_not_begun(tmp_path: Path) -> None:
    assert LastWords.read(tmp_path / "nothing").kind is DeathKind.LOST
    assert blame.memory_kills() >= 0 and os.getpid()


def allocate(how: str) -> object:
    return torch.empty(1 << 60) if how == "torch" else bytearray(1 << 60)


@pytest.mark.parametrize("how", ["torch", "python"])
def test_lack_of_memory_is_known_and_one_line(
    how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whoever asks for it."""
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate(how)
    assert blame.lacks_memory(caught.value)
    assert not blame.lacks_memory(RuntimeError("shapes cannot be multiplied"))
    monkeypatch.setattr(Manifest, "require_config", lambda manifest: allocate(how))
    assert main(["verify", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("codecshards: memory ran out (") and said.count("\n") == 1
