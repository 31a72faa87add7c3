"""Remote file systems that fail: patience with outages, and one line about what is wrong, in one
place.

Whatever a client raises is judged (`pipelines.system.outages`), as one of three:

    outage   the store does not answer now: 5xx, 429, 409, a connection refused, cut or silent.
             Asked again, less and less often, for `patience_seconds`; after that the run stops,
             and another one goes on. It is no recording's fault.
    setup    credentials, endpoint, package: nothing will work before somebody sets them. The run
             stops at once.
    answer   the store has said no about this object (missing, forbidden, not changed …): an
             `OSError`, for the caller to judge.

The clients' own retries are kept few, so that patience is the same for all of them and is told
here.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import IO, Any, Literal, TypeVar, cast

import fsspec
from fsspec.utils import get_protocol

from pipelines.system.outages import (
    SETTINGS,
    Verdict,
    causes,
    has_no_conditions,
    is_refused,
    judge,
    one_line,
    origin,
    status_of,
)
from pipelines.system.places import is_chain
from tokenizer.errors import (
    CodecshardsError,
    OutputError,
    SourceError,
    SourceUnavailable,
    UsageError,
)

PATIENCE_VARIABLE = "CODECSHARDS_PATIENCE"
PATIENCE_SECONDS = 90.0
"""that a store may fail before it is given up, unless the variable says otherwise"""
FIRST_SECONDS = 10.0
"""the same for a host that has never answered: most probably its name is wrong"""
PIECE = 8 << 20
"""bytes that are asked for at a time: what is lost with a connection"""
PIECE_SECONDS = 600.0
"""that one piece may take while the decoder says that it is alive"""
_PAUSES = (0.25, 8.0)
"""seconds: the first, and the longest"""
_CLIENT_TRIES = 2
WEB = ("http", "https", "ftp")
"""schemes of hosts, not of stores: many know no ranges"""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Blame:
    """What errors about a store are called: it holds the corpus, or the output."""

    setup: type[UsageError]
    outage: type[UsageError]


AS_SOURCE = Blame(SourceError, SourceUnavailable)
AS_OUTPUT = Blame(OutputError, OutputError)


_NO_REPOSITORY = {"RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"}
"""of `huggingface_hub`"""


class MissingBucket(FileNotFoundError):
    """Not only the object is missing, but what it should lie in."""


def patience_seconds() -> float:
    """How long a store may fail.

    Raises:
        UsageError: the environment's variable is no number of seconds.
    """
    given = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        seconds = float(given) if given else PATIENCE_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{PATIENCE_VARIABLE}={given}: give seconds from 0")
    return seconds


class _Process:
    """What this process knows of stores, and whom it tells that it is alive while it waits for
    one."""

    reached: set[str] = set()  # noqa: RUF012  (one for all)
    worker = False
    beat: Callable[[], None] | None = None
    beat_every = 2.0


def work_for(beat: Callable[[], None] | None = None, every: float = 2.0) -> None:
    """Say that this process works for one that has seen the stores already; `beat` is called while
    it waits for them."""
    _Process.worker, _Process.beat, _Process.beat_every = True, beat, every


def patiently(call: Callable[[], _Result], uri: str, blame: Blame = AS_SOURCE) -> _Result:
    """What `call` returns, however often it must be made.

    Raises:
        UsageError: of the blame's kind: an outage that lasts, or something that must be set up.
        OSError: what the store says about this object.
    """
    began, patience, pause = time.monotonic(), patience_seconds(), _PAUSES[0]
    with _beating(patience):
        while True:
            try:
                result = call()
                _Process.reached.add(origin(uri))
                return result
            except CodecshardsError:
                raise
            except Exception as error:
                verdict = judge(error, uri)
                if verdict.kind == "setup":
                    raise blame.setup(verdict.text) from error
                if verdict.kind == "answer":
                    answer = _as_answer(error, uri, verdict)
                    if answer is error:
                        raise
                    raise answer from error
                if verdict.reached:
                    _Process.reached.add(origin(uri))
                spent, limit = time.monotonic() - began, _limit(uri, patience)
                if spent + pause > limit:
                    raise _given_up(uri, verdict, spent, blame) from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _PAUSES[1])


def _limit(uri: str, patience: float) -> float:
    known = origin(uri) in _Process.reached or (_Process.worker and get_protocol(uri) not in WEB)
    return patience if known else min(patience, FIRST_SECONDS)


def _as_answer(error: Exception, uri: str, verdict: Verdict) -> Exception:
    codes = {status_of(cause)[1] for cause in causes(error)}
    if "NoSuchBucket" in codes:
        return MissingBucket(
            errno.ENOENT,
            f"no such bucket: create {origin(uri)}, or check its name and AWS_ENDPOINT_URL",
        )
    missing = {type(cause).__name__ for cause in causes(error)} & _NO_REPOSITORY
    refused = {status_of(cause)[0] for cause in causes(error)} & {401, 403}
    if missing or (refused and origin(uri).startswith("hf://")):
        return MissingBucket(
            errno.ENOENT,
            "the Hub has no such data set or revision, or none that you may read: check its name "
            "(hf://datasets/USER/NAME), and log in with `hf auth login` or set HF_TOKEN",
        )
    home = type(error).__module__.split(".")[0]
    if home in ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs"):
        return OSError(errno.EINVAL, verdict.text)
    return error


def _given_up(uri: str, verdict: Verdict, seconds: float, blame: Blame) -> UsageError:
    place = origin(uri)
    if place not in _Process.reached:
        hint = (
            "AWS_ENDPOINT_URL and the network"
            if place.startswith("s3")
            else "its name and the network"
        )
        return blame.outage(
            f"{place} cannot be reached ({verdict.text}): check {hint}, then run the same command "
            "again"
        )
    return blame.outage(
        f"{place} does not answer, tried for {seconds:.0f} s ({verdict.text}): run the same "
        "command again to go on; "
        f"{PATIENCE_VARIABLE} sets the seconds"
    )


@contextmanager
def _beating(patience: float) -> Iterator[None]:
    """Tell whoever waits that waiting is all right, as long as it can be."""
    beat, every = _Process.beat, _Process.beat_every
    if beat is None:
        yield
        return
    done, until = threading.Event(), time.monotonic() + PIECE_SECONDS + patience

    def go_on() -> None:
        while not done.wait(every) and time.monotonic() < until:
            beat()

    thread = threading.Thread(target=go_on, daemon=True, name="remote-beat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


_CALLS = frozenset(
    "cat_file cp_file exists find info ls pipe_file put_file rm_file size".split()  # noqa: SIM905
)
_CONNECTIONS = 64
"""of one process to a store; botocore's own are 10"""
_LISTING = frozenset({"find", "info", "isdir", "ls"})
"""calls about the place, not one object: a missing bucket or a refusal there is a matter of
set-up"""


class RemoteFileSystem:
    """An fsspec file system whose calls are patient. Goes to other processes by its URL, and
    survives a fork."""

    def __init__(self, uri: str, blame: Blame) -> None:
        self._uri, self._blame = uri, blame
        self._made: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_uri": self._uri, "_blame": self._blame, "_made": None}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in _CALLS:
            return getattr(self._fs(), name)

        return partial(self._call, name)

    def isdir(self, path: str) -> bool:
        """Whether there is such a folder; a missing bucket is an error."""
        if self._call("isdir", path):
            return True
        with suppress(FileNotFoundError, NotADirectoryError):
            self._call("ls", path)
        return False

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return patiently(
                lambda: getattr(self._fs(), name)(*args, **kwargs), self._uri, self._blame
            )
        except OSError as error:
            if name in _LISTING and isinstance(error, MissingBucket | PermissionError):
                raise self._blame.setup(f"{self._uri}: {_refusal(error)}") from error
            raise

    def cat_whole(self, path: str) -> bytes:
        """An object's content by one request. s3fs asks for its size before, to fetch a large one
        in parts, and takes a listing's word for it."""
        cat: Any = getattr(self._fs(), "_cat_file", None)
        knows = cat is not None and "max_concurrency" in signature(cat).parameters
        content: bytes = self._call("cat_file", path, **({"max_concurrency": 1} if knows else {}))
        return content

    def remove_tagged(self, path: str, tag: str | None) -> bool:
        """Remove an object if it still has this ETag; whether it is gone by this. S3's conditional
        delete, where the store has one; others know no condition, and remove whatever is there."""
        fs = self._fs()
        fs.invalidate_cache(path)
        if tag is not None and get_protocol(self._uri) in ("s3", "s3a"):
            bucket, key, _ = fs.split_path(path)
            try:
                self._call("call_s3", "delete_object", Bucket=bucket, Key=key, IfMatch=tag)
                return True
            except OSError as error:
                if is_refused(error):
                    return False
                if not has_no_conditions(error):
                    raise
        self._call("rm_file", path)
        return True

    @property
    def path(self) -> str:
        """The URL's path on the file system."""
        self._fs()
        return cast(tuple[int, Any, str], self._made)[2]

    def open(self, path: str, mode: Literal["rb"] = "rb", ahead: bool = True) -> IO[bytes]:
        """A file to read, patient too; without `ahead` no more is fetched than is read."""
        more = {} if ahead else {"cache_type": "none"}
        file = patiently(lambda: self._fs().open(path, mode, **more), self._uri, self._blame)
        cache: Any = getattr(file, "cache", None)
        if hasattr(cache, "fetcher"):
            cache.fetcher = _in_pieces(cache.fetcher, self._uri, self._blame)
        return cast(IO[bytes], file)

    def _fs(self) -> Any:
        if self._made is None or self._made[0] != os.getpid():
            self._made = (os.getpid(), *connect(self._uri, self._blame))
        return self._made[1]


def _refusal(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"access denied ({one_line(error)}): check the credentials and their rights; {SETTINGS}"
        )
    return one_line(error)


def connect(uri: str, blame: Blame) -> tuple[Any, str]:
    """fsspec's `url_to_fs`, without patience."""
    options: dict[str, Any] = {}
    if get_protocol(uri) in ("s3", "s3a") and not is_chain(uri):
        asked = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
        options["config_kwargs"] = {
            "retries": {"mode": "standard", "total_max_attempts": _CLIENT_TRIES},
            "max_pool_connections": _CONNECTIONS,
            **asked,
        }
    try:
        fs, path = _opened(uri, options)
    except ImportError as error:
        package = "s3fs" if uri.startswith("s3") else "the package that it names"
        raise blame.setup(
            f"{uri} cannot be opened here: {one_line(error)} (pip install {package})"
        ) from error
    if options:
        fs.retries = 1  # s3fs' own loop around the client's
    return fs, path


def forget_listings(uri: str) -> None:
    """Have a store asked again what it holds: file systems keep what they were told."""
    with suppress(Exception):  # whatever it is, whoever reads it says it better
        connect(uri, AS_SOURCE)[0].invalidate_cache()


def _opened(uri: str, options: dict[str, Any]) -> tuple[Any, str]:
    """fsspec takes every `::` for that of a chain."""
    if "::" not in uri or is_chain(uri):
        return cast(tuple[Any, str], fsspec.core.url_to_fs(uri, **options))
    kind: Any = fsspec.get_filesystem_class(get_protocol(uri))
    return kind(**kind._get_kwargs_from_urls(uri), **options), kind._strip_protocol(uri)


def _in_pieces(
    fetch: Callable[[int, int], bytes], uri: str, blame: Blame
) -> Callable[[int, int], bytes]:
    def fetch_patiently(start: int, end: int) -> bytes:
        pieces = []
        for at in range(start, end, PIECE):
            last = min(at + PIECE, end)
            pieces.append(patiently(partial(fetch, at, last), uri, blame))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    return fetch_patiently


def filesystem(uri: str, blame: Blame = AS_SOURCE) -> tuple[Any, str]:
    """fsspec's `url_to_fs`, patient where the URL is remote.

    Raises:
        UsageError: of the blame's kind: the package is missing.
        ValueError: a scheme that nothing opens.
    """
    if get_protocol(uri) in ("file", "local"):
        return cast(tuple[Any, str], fsspec.core.url_to_fs(uri))
    remote = RemoteFileSystem(uri, blame)
    return remote, remote.path


def open_remote(uri: str, ahead: bool = True) -> IO[bytes]:
    """A file of a corpus to read, local or remote, as it is (nothing is decompressed). Without
    `ahead` no more of it is fetched than is read: for files that are read here and there."""
    fs, path = filesystem(uri)
    if isinstance(fs, RemoteFileSystem):
        return fs.open(path, ahead=ahead)
    file: IO[bytes] = fs.open(path)
    return file
