"""The Hub, as far as publishing needs it; whatever it says is one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from pipelines.system.outages import causes, judge, one_line, status_of
from tokenizer.errors import UsageError

_KIND = "dataset"
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


class Repository:
    """A data set on the Hub."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        """`revision`: a branch; None is the main one."""
        self.name, self._revision = name, revision
        self._api = HfApi()

    @property
    def url(self) -> str:
        """Where people see it."""
        at = "" if self._revision is None else f"/tree/{self._revision}"
        return f"{self._api.endpoint}/datasets/{self.name}{at}"

    def create(self, private: bool) -> None:
        """See that it is there, and its branch. What is there stays as public or private as it
        is.

        Raises:
            UsageError: no token, no right, or no Hub.
        """
        with self._told():
            self._api.create_repo(
                self.name, repo_type=_KIND, private=private or None, exist_ok=True
            )
            if self._revision is not None:
                self._api.create_branch(
                    self.name, repo_type=_KIND, branch=self._revision, exist_ok=True
                )

    def files(self) -> dict[str, str | None]:
        """SHA-256 of every file by its path; None of those that are small enough for git."""
        with self._told():
            tree = self._api.list_repo_tree(
                self.name, repo_type=_KIND, recursive=True, revision=self._revision
            )
            return {
                one.path: one.lfs.sha256 if one.lfs is not None else None
                for one in tree
                if isinstance(one, RepoFile)
            }

    def read(self, path: str) -> str | None:
        """A small text file as it is there now; None if there is none."""
        with self._told():
            try:
                place = self._api.hf_hub_download(
                    self.name,
                    path,
                    repo_type=_KIND,
                    force_download=True,
                    revision=self._revision,
                )
            except EntryNotFoundError:
                return None
            return Path(place).read_text(encoding="utf-8", errors="replace")

    def commit(
        self, message: str, files: Mapping[str, str | bytes], gone: Sequence[str] = ()
    ) -> None:
        """Put files there, by path: local paths, or contents; and take some away."""
        operations: list[Any] = [
            CommitOperationAdd(path, content) for path, content in files.items()
        ]
        operations += [CommitOperationDelete(path) for path in gone]
        with self._told(), _silent():
            self._api.create_commit(
                self.name,
                operations,
                commit_message=message,
                repo_type=_KIND,
                revision=self._revision,
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except HFValidationError as error:
            raise UsageError(
                f"{self.name}: not a name of a data set on the Hub ({one_line(error)}): give "
                "USER/NAME"
            ) from error
        except RepositoryNotFoundError as error:
            raise UsageError(f"{self.url}: not found, or not for you to see: {_LOGIN}") from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise UsageError(
                    f"{self.url}: the Hub does not allow it ({status}): {_LOGIN}"
                ) from error
            raise UsageError(f"{self.url}: {_reason(error)}") from error
        except Exception as error:  # whatever its client raises
            verdict = judge(error, self.url)
            if verdict.kind == "answer" and not any(status_of(cause)[0] for cause in causes(error)):
                raise
            raise UsageError(
                f"{self.url}: the Hub cannot be reached ({verdict.text}): run the same command "
                "again to go on"
            ) from error


def _reason(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    said = error.server_message or one_line(error)
    later = ": run the same command again to go on" if status >= 500 or status == 429 else ""
    return f"the Hub answers {status} ({said}){later}"


@contextmanager
def _silent() -> Iterator[None]:
    """Without the client's own bars, which would break ours."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
