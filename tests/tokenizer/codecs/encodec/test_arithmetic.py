"""torch's settings of float32 arithmetic: set for a block, put back after it, and never another
thread's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sounds import sound

from tokenizer import load_codec
from tokenizer.codecs.encodec import arithmetic as module
from tokenizer.codecs.encodec.arithmetic import arithmetic, exact_float32, modest_memory
from tokenizer.codecs.encodec.scales import normalise

BACKENDS: Any = torch.backends
BY_OPERATION = hasattr(torch.backends.cudnn, "conv")
newer = pytest.mark.skipif(
    not BY_OPERATION, reason="torch has one setting an operation from 2.9 on"
)


def settings() -> list[str]:
    places = (
        BACKENDS.cuda.matmul,
        BACKENDS.cudnn.conv,
        BACKENDS.cudnn.rnn,
        BACKENDS.mkldnn.matmul,
        BACKENDS.mkldnn.conv,
    )
    return [place.fp32_precision for place in places]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    if BY_OPERATION:
        BACKENDS.fp32_precision = "none"
        for place in (BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv):
            place.fp32_precision = "none"
        BACKENDS.cudnn.conv.fp32_precision = BACKENDS.cudnn.rnn.fp32_precision = (
            "tf32"  # torch's own default
        )


@newer
@pytest.mark.parametrize("general", ["none", "tf32", "ieee"])
def test_exact_is_exact_and_fast_rounds_in_cudnn_only_whatever_the_caller_has_set(
    general: str,
) -> None:
    BACKENDS.fp32_precision = general
    before = settings()
    with exact_float32():
        assert settings() == ["ieee"] * 5
        with arithmetic("fast"):
            assert settings() == ["ieee", "tf32", "tf32", "ieee", "ieee"]
        assert settings() == ["ieee"] * 5
    assert settings() == before


@newer
def test_what_followed_the_general_setting_follows_it_still() -> None:
    BACKENDS.fp32_precision = "tf32"
    with exact_float32():
        pass
    BACKENDS.fp32_precision = "ieee"
    assert settings()[0] == "ieee"


def test_older_settings_come_back_too() -> None:
    torch.set_float32_matmul_precision("medium")
    with arithmetic("fast"):
        pass
    assert torch.get_float32_matmul_precision() == "medium"
    with module._by_library(False):  # before torch 2.9
        assert (
            torch.get_float32_matmul_precision() == "highest"
            and not torch.backends.cudnn.allow_tf32
        )
    assert torch.get_float32_matmul_precision() == "medium" and torch.backends.cudnn.allow_tf32


def test_cudnn_neither_races_nor_adds_as_it_comes() -> None:
    flags = BACKENDS.cudnn
    before = (flags.enabled, flags.benchmark, flags.deterministic)
    flags.benchmark = True
    try:
        with arithmetic("exact"):
            assert (flags.enabled, flags.benchmark, flags.deterministic) == (True, False, True)
        assert flags.benchmark and not flags.deterministic
    finally:
        flags.enabled, flags.benchmark, flags.deterministic = before


@pytest.mark.parametrize(
    ("held_gib", "total_gib", "limit", "expected"),
    [(10, 140, 1.0, 40 / 140), (10, 24, 1.0, 1.0), (0, 40, 0.5, 0.5), (100, 140, 0.9, 130 / 140)],
    ids=["a large card", "a small one", "one that the caller has limited", "nearly all is held"],
)
def test_a_card_gives_libraries_a_modest_part(
    monkeypatch: pytest.MonkeyPatch,
    held_gib: int,
    total_gib: int,
    limit: float,
    expected: float,
) -> None:
    limits = [limit]

    def of_card(found: Any) -> Callable[[object], Any]:
        """As torch has them, which refuse a device without a number."""

        def ask(card: object) -> Any:
            assert card == 3
            return found() if callable(found) else found

        return ask

    def set_limit(share: float, card: object) -> None:
        assert card == 3
        limits.append(share)

    fakes: dict[str, Any] = {
        "current_device": lambda: 3,
        "memory_reserved": of_card(held_gib << 30),
        "get_device_properties": of_card(SimpleNamespace(total_memory=total_gib << 30)),
        "get_per_process_memory_fraction": of_card(lambda: limits[-1]),
        "set_per_process_memory_fraction": set_limit,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake, raising=False)
    for device in ("cuda", "cuda:3"):
        with pytest.raises(ZeroDivisionError), modest_memory(torch.device(device)):
            assert limits[-1] == pytest.approx(min(expected, limit))
            raise ZeroDivisionError
        assert limits[-1] == limit
    with modest_memory(torch.device("cpu")):
        assert len(limits) == 5


@newer
def test_the_callers_settings_change_no_code(reduced: Path) -> None:
    codec, waveform = load_codec(str(reduced), bandwidth=24.0, device="cpu"), sound(60_000)
    expected = codec.encode(waveform).codes
    BACKENDS.fp32_precision = "tf32"
    BACKENDS.mkldnn.matmul.fp32_precision = "bf16"
    assert np.array_equal(codec.encode(waveform).codes, expected)
    assert BACKENDS.mkldnn.matmul.fp32_precision == "bf16"


def test_threads_take_turns_and_leave_the_settings_as_they_were() -> None:
    before = settings() if BY_OPERATION else []
    inside, both = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with arithmetic("exact"):
            inside.set()
            both.wait(0.2)
            order.append("first")

    def second() -> None:
        inside.wait()
        with arithmetic("fast"):
            order.append("second")
            both.set()

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]
    assert not BY_OPERATION or settings() == before


def test_threads_may_share_a_codec(reduced: Path) -> None:
    codec = load_codec(str(reduced), device="cpu")
    waveforms = [sound(n, seed=n).samples for n in (48_000, 700, 20_000)]
    expected = codec.encode_chunks(waveforms)
    found: list[Any] = [None] * 4

    def work(place: int) -> None:
        found[place] = codec.encode_chunks(waveforms)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        assert all(
            np.array_equal(mine.codes, other.codes)
            for mine, other in zip(one, expected, strict=True)
        )


def test_a_scale_does_not_depend_on_the_number_of_threads() -> None:
    samples = torch.from_numpy(np.stack([sound(48_000, seed=n).samples for n in range(20)]))
    one = [normalise(row[None])[1] for row in samples]
    torch.set_num_threads(3)
    try:
        several = [normalise(row[None])[1] for row in samples]
        assert torch.get_num_threads() == 3, "the caller's own number of threads stays"
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.cat(several), torch.cat(one))
