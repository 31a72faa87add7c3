"""Signals that ask for an end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.system.signals import Stopped, kept_signals, stoppable

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_each_has_the_exit_code_of_a_shell(number: signal.Signals, code: int) -> None:
    with pytest.raises(Stopped) as caught, stoppable():
        signal.raise_signal(number)
    assert caught.value.exit_code == code and str(caught.value)


def test_compiled_code_that_hides_the_exception_changes_nothing() -> None:
    with pytest.raises(Stopped) as caught, stoppable():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
    assert caught.value.exit_code == 143


def test_more_of_them_do_not_disturb_the_way_out() -> None:
    cleaned = []
    with pytest.raises(Stopped) as caught, stoppable():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            cleaned.append(True)
    assert cleaned and caught.value.number == signal.SIGTERM


def test_handlers_are_given_back_and_kept_from_libraries() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        ours = signal.getsignal(signal.SIGTERM)
        with kept_signals():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_exit_by_a_library_s_handler_is_a_stop() -> None:
    with pytest.raises(Stopped), kept_signals():
        sys.exit(int(signal.SIGTERM))
    with pytest.raises(SystemExit), kept_signals():
        sys.exit(3)


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_ends_at_once() -> None:
    code = (
        "import signal, time\nfrom pipelines.system.signals import stoppable\n"
        "with stoppable():\n  try:\n    print('on', flush=True); time.sleep(60)\n"
        "  finally:\n    print('cleaning', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(30) == 130 and time.monotonic() - began < 30
