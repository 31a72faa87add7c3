"""Where everything lies in an output folder, and hashes of what lies there."""

from __future__ import annotations

import hashlib
import re
import uuid

from pipelines.output.formats import ShardFormat
from pipelines.output.storage import Storage

MANIFEST = "manifest"
PRECISION = "manifest/precision.json"
CONFIG, PLAN, COMMITS, DATA, STAGING = (
    "manifest/config.json",
    "manifest/plan.parquet",
    "manifest/commits",
    "data",
    "manifest/staging",
)
GENERATIONS, PLANS = "manifest/generations", "manifest/plans"
_BLOCK = 1 << 20
_STAGED = re.compile(r"\.?.+\.([0-9a-f]{12})\.[0-9a-f]{32}\.")
"""a staged file's name, or that under which it is being written, and the run in it"""
STAGED_PLAN = re.compile(r"plan-[0-9a-f]{64}\.parquet")


def record_name(shard: str) -> str:
    """Where a shard's commit record lies."""
    return f"{COMMITS}/{shard}.json"


def data_name(shard: str, form: ShardFormat) -> str:
    """Where a committed shard lies, in the output folder."""
    return f"{DATA}/{form.file_name(shard)}"


def staged_name(shard: str, form: ShardFormat, run: str) -> str:
    """A place for one attempt of a run at a shard, shared with nobody."""
    return f"{STAGING}/{shard}.{run}.{uuid.uuid4().hex}{form.suffix}"


def run_of(staged: str) -> str | None:
    """The run that a file in `STAGING` belongs to; None for what no run has put there."""
    found = _STAGED.match(staged)
    return None if found is None else found.group(1)


def staged_plan_name(digest: str) -> str:
    """Where a plan waits for the configuration that names it."""
    return f"{STAGING}/plan-{digest}.parquet"


def generation_name(number: int) -> str:
    """Where it is written what a generation is, from 1; the first run's is in `CONFIG`."""
    return f"{GENERATIONS}/{number:05d}.json"


def plan_name(number: int) -> str:
    """Where a generation's plan lies."""
    return f"{PLANS}/{number:05d}.parquet" if number else PLAN


def staged_generation_name(number: int, run: str) -> str:
    """A place for the plan of a generation that a run is about to begin, shared with nobody."""
    return f"{STAGING}/generation-{number:05d}.{run}.{uuid.uuid4().hex}.parquet"


def hash_file(path: str) -> str:
    """SHA-256 of a local file, in hex."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_stored(storage: Storage, name: str) -> str:
    """SHA-256 of a stored file, in hex."""
    digest = hashlib.sha256()
    with storage.open(name) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
