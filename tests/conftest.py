"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import s3
from needs import lacking

ROOT = Path(__file__).resolve().parent.parent
LONGEST = (
    "pipelines/cluster",
    "tokenizer/training",
    "tokenizer/test_gpu_benchmark.py",
    "tokenizer/codecs",
    "pipelines/output/test_stores.py",
)
"""files and folders of tests that take long: begun last, they would keep one process busy when the
others have nothing left to do"""

gc.disable()  # until all tests are imported, as nothing is garbage that early

# Ray's workers give way to every other process (nice 15): beside busy tests, they would start for
# minutes.
os.environ.setdefault("RAY_worker_niceness", "0")
# And the threads of their mathematics would wait for each other, as those of `one_thread` would:
# NumPy's and PyTorch's libraries read this when they are loaded, here and in every process that is
# started from here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where a test asks for two threads, one that waits for the other sleeps: beside busy processes, it
# would keep a processor from what it waits for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Triton's kernels are interpreted where there is no card. It decides when it is imported.
if not Path("/proc/driver/nvidia").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# Each of the hundreds of processes that tests start would compile our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background without Ctrl-C, and so would be the programs
    # that these tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # the same under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, else in the order of their files."""
    ranks = {place: rank for rank, place in enumerate(LONGEST)}

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(ROOT / "tests")
        places = [path.as_posix(), *(parent.as_posix() for parent in path.parents)]
        return min((ranks[place] for place in places if place in ranks), default=len(ranks))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """What was imported stays: not to be looked through again at every full collection."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # libraries count what is left at a process's end


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small models on many threads spend their time waiting for each other; and what a test before
    has set, transformers' own codes would depend on."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The optional folder of real recordings beside the checkout; CI says that it expects it."""
    return _beside("audio", "real recordings", "CODECSHARDS_EXPECT_AUDIO")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The optional folder of small corpora beside the checkout; CI says that it expects it."""
    return _beside("cases", "cases", "CODECSHARDS_EXPECT_CASES")


def _beside(name: str, what: str, variable: str) -> Path:
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        lacking(f"the optional folder of {what} is not beside this checkout ({folder})", variable)
    return folder


@pytest.fixture(scope="session")
def visqol_library() -> ModuleType:
    """The optional package visqol-python, parts of which are built on installation; CI says whether
    it could be."""
    try:
        return import_module("visqol")
    except ImportError:
        lacking(
            "visqol-python is not installed: pip install '.[eval]'", "CODECSHARDS_EXPECT_VISQOL"
        )


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """A real S3 server for all tests; buckets are each test's own (`bucket`)."""
    for package in ("s3fs", "moto.server", "boto3"):
        pytest.importorskip(package)
    with s3.moto_server() as port:
        yield port


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Bucket]:
    """An empty bucket; the environment leads every S3 client to it, through a proxy that can inject
    faults."""
    with s3.fresh_bucket(s3_port) as fresh:
        for name, value in {
            **s3.ACCOUNT,
            "AWS_ENDPOINT_URL": fresh.proxy.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/dev/null")
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        # The client's own pause before its second try is up to a second.
        backoff = "botocore.retries.standard.ExponentialBackoff.delay_amount"
        monkeypatch.setattr(backoff, lambda self, context: 0.01)
        s3.forget_clients()
        yield fresh
        s3.forget_clients()
