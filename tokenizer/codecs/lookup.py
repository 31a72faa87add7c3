"""Where a checkpoint lies: a local folder, or a hub id that becomes one. Nothing here needs torch,
or knows what kinds of checkpoints there are."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tokenizer.errors import CodecLoadError

BUNDLED = {"small": Path(__file__).resolve().parents[1] / "checkpoints" / "small"}
"""checkpoints that ship with the package, by name; a folder of the same name is meant by ./name"""
ON_THE_HUB = (
    "facebook/encodec_48khz",
    "facebook/encodec_32khz",
    "facebook/encodec_24khz",
    "descript/dac_44khz",
    "descript/dac_24khz",
    "descript/dac_16khz",
    "kyutai/mimi",
    "hf-audio/xcodec-hubert-librispeech",
    "hf-audio/xcodec-hubert-general",
    "hf-audio/xcodec-hubert-general-balanced",
    "hf-audio/xcodec-wavlm-mls",
    "hf-audio/xcodec-wavlm-more-data",
    "hf-audio/xcodec2",
    "bosonai/higgs-audio-v2-tokenizer",
    "eustlb/higgs-audio-v2-tokenizer",
    "neuphonic/neucodec",
)
"""published checkpoints that are offered to those who misspell one"""
_SPOKEN = {"moshi": "kyutai/mimi"}
"""what some are called by the model that they belong to"""
_SHOWN = ("facebook/encodec_48khz", "facebook/encodec_24khz", "descript/dac_44khz", "kyutai/mimi")
OLDEST_TRANSFORMERS = "5.17"
"""with every class of codecs, as pyproject.toml asks for"""
NO_WEIGHTS = ""
"""instead of their hash"""
_WEIGHTS = ("*.safetensors", "*.bin")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a configuration and weights, and how it was named."""

    folder: Path
    name: str
    """hub id, name in `BUNDLED`, or the absolute path of a local folder"""
    revision: str | None
    """hub commit; None for what is local"""
    model_type: object
    """as its config.json has it, whatever that is"""
    weighed: bool = True
    """False where only its configuration matters: `weights_hash` is `NO_WEIGHTS`"""

    @classmethod
    def at(cls, folder: Path, name: str, revision: str | None = None) -> Checkpoint:
        """
        Raises:
            CodecLoadError: there is no config.json in the folder, or it is no JSON.
        """
        return _checkpoint(folder, name, revision)


def codec_name(name: object) -> str:
    """How a codec was named, as text: a folder may be a `Path`.

    Raises:
        CodecLoadError: it is neither.
    """
    text = os.fspath(name) if isinstance(name, str | os.PathLike) else None
    if not isinstance(text, str):
        raise CodecLoadError(f"codec {name!r}: give a name or a folder")
    return text


def find_checkpoint(
    name: str, revision: str | None = None, named: Sequence[str] = ()
) -> Checkpoint:
    """The checkpoint called `name`, downloaded if it is a hub id that is not in the cache yet.

    Args:
        name: a row of `BUNDLED`, a folder, or a hub id.
        revision: hub commit, tag or branch.
        named: codecs that need no checkpoint, which someone who misspells one may have meant.

    Raises:
        CodecLoadError: there is none, or there is no network to fetch it.
    """
    folder = folder_called(name)
    if revision is not None and not isinstance(revision, str):
        raise CodecLoadError(f"revision {revision!r}: give a commit, tag or branch by its name")
    if name in BUNDLED or folder.is_dir():
        require_no_revision(name, revision)
    if name in BUNDLED:
        return _checkpoint(BUNDLED[name], name)
    if folder.is_dir():
        return _checkpoint(folder.resolve(), str(folder.resolve()))
    if folder.is_file():
        raise CodecLoadError(
            f"codec {name}: it is a file; give its folder, {folder.parent}, with config.json and "
            "weights"
        )
    if looks_local(name):
        missing = f"codec {name}: there is no such folder"
        if name.startswith(("/", "~")):  # as outputs and pickled codecs name it
            raise CodecLoadError(
                f"{missing}: if it was moved, give where it lies now (--codec NEWFOLDER)"
            )
        raise CodecLoadError(
            f"{missing} (one written by save_pretrained is expected){_meant(name, named)}"
        )
    return _download(name, revision, named)


def folder_called(name: str) -> Path:
    """The folder of that name; a user's whom nobody knows is none."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  (which raises where there is no such user)


def require_no_revision(name: str, revision: str | None, own: str | None = None) -> None:
    """Of a codec that does not come from the hub by its name; `own` is the one that it says
    itself.

    Raises:
        CodecLoadError: there is one.
    """
    if revision not in (None, own):
        raise CodecLoadError(
            f"--revision {revision} pins a hub checkpoint; {name} is on this machine"
        )


def weights_files(checkpoint: Checkpoint) -> list[Path]:
    """The weight files, safetensors before pickles.

    Raises:
        CodecLoadError: there are none.
    """
    for pattern in _WEIGHTS:
        files = sorted(checkpoint.folder.glob(pattern))
        if files:
            return files
    raise CodecLoadError(
        f"codec {checkpoint.name}: no weights (*.safetensors or *.bin) beside its config.json"
    )


def weights_hash(checkpoint: Checkpoint) -> str:
    """SHA-256 of the weight files as they lie on disk, in hex."""
    if not checkpoint.weighed:
        return NO_WEIGHTS
    digest = hashlib.sha256()
    for path in weights_files(checkpoint):
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def require_transformers(name: str) -> None:
    """Before a checkpoint is read: an older transformers lacks classes, or has them in other parts.

    Raises:
        CodecLoadError: it is older than `OLDEST_TRANSFORMERS`, or cannot be imported beside the
            other packages that are installed.
    """
    newer = f"pip install -U 'transformers>={OLDEST_TRANSFORMERS}'"
    try:
        from transformers import __version__ as found
    except ImportError as error:  # it asks which tokenizers and huggingface_hub there are
        raise CodecLoadError(
            f"codec {name}: transformers cannot be imported ({' '.join(str(error).split())}): "
            f"{newer}"
        ) from error
    if _numbers(found) < _numbers(OLDEST_TRANSFORMERS):
        raise CodecLoadError(
            f"codec {name}: transformers {found} is installed, and {OLDEST_TRANSFORMERS} or newer "
            f"is needed: {newer}"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The first two of a version: (5, 17) of "5.17.0.dev0"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def read_settings(checkpoint: Checkpoint, kind: Any, whose: str) -> Any:
    """The configuration of a checkpoint.

    Args:
        kind: transformers' class of it.
        whose: model it is of, as people write it: "a DAC's".

    Raises:
        CodecLoadError: its config.json has settings that such a model cannot have.
    """
    try:
        return kind.from_pretrained(checkpoint.folder, local_files_only=True)
    except Exception as error:  # transformers passes on whatever validates its settings
        raise CodecLoadError(
            f"codec {checkpoint.name}: its config.json is not {whose}: "
            f"{' '.join(str(error).split())}"
        ) from error


def _meant(name: str, named: Sequence[str]) -> str:
    """What someone may have meant who wrote this, and what there is: the end of a message."""
    there = (
        f"; with the package come {' and '.join((*BUNDLED, *named))}, on the hub are "
        f"{', '.join(_SHOWN)} and others (docs/codecs.md)"
    )
    return _close(name, named) + there


def _close(name: str, named: Sequence[str]) -> str:
    """The names that are most like this one, as a question; nothing for one that is right."""
    known = [*BUNDLED, *named, *ON_THE_HUB]
    if name in known:
        return ""
    # Without the owner, as one speaks of them; and of what is alike the first ones.
    bare = {_plain(full): full for full in reversed(known)}
    written, word = name.lower().removeprefix("./"), _plain(name)
    begin = [full for full in known if _plain(full).startswith(word)] if len(word) > 2 else []
    close = [_SPOKEN[word]] if word in _SPOKEN else begin[:3]
    if not close:
        close = get_close_matches(written, known, n=1, cutoff=0.7)
    if not close:
        close = [bare[one] for one in get_close_matches(word, bare, n=1, cutoff=0.7)]
    return f": did you mean {' or '.join(close)}?" if close else ""


def _plain(name: str) -> str:
    """A name without its owner, signs between words and capital letters: "xcodec2"."""
    return "".join(sign for sign in name.lower().split("/")[-1] if sign.isalnum())


def looks_local(name: str) -> bool:
    """Whether a name is a path, and no hub id, also where nothing lies there."""
    return (
        name.startswith((".", "/", "~"))
        or name.count("/") > 1
        or name.endswith("/")
        or os.sep not in name
    )


def _download(name: str, revision: str | None, named: Sequence[str]) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    close = _close(name, named)
    try:
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors"])
        )
        if not list(folder.glob("*.safetensors")):
            folder = Path(
                snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.bin"])
            )
    except RevisionNotFoundError as error:
        raise CodecLoadError(f"codec {name} has no revision {revision} on the hub") from error
    except LocalEntryNotFoundError as error:
        raise CodecLoadError(
            f"codec {name} is not in this machine's cache and the hub cannot be reached: fetch it "
            "where there is a network "
            f"(hf download {name} --local-dir FOLDER) and give the folder as --codec{close}"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CodecLoadError(
            f"codec {name}: neither a folder nor a checkpoint on the hub{_meant(name, named)}"
        ) from error
    except Exception as error:  # the hub client passes on whatever its transport raises
        raise CodecLoadError(
            f"codec {name} cannot be fetched from the hub ({type(error).__name__}): fetch it where "
            "there is a network "
            f"(hf download {name} --local-dir FOLDER) and give the folder as --codec{close}"
        ) from error
    return _checkpoint(folder, name, folder.name)


def _checkpoint(folder: Path, name: str, revision: str | None = None) -> Checkpoint:
    """
    Raises:
        CodecLoadError: there is no config.json in the folder, or it is no JSON.
    """
    try:
        config: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CodecLoadError(
            f"codec {name}: no config.json in it, so it is not a checkpoint"
        ) from error
    except (OSError, ValueError) as error:
        raise CodecLoadError(f"codec {name}: its config.json cannot be read: {error}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    return Checkpoint(folder, name, revision, kind)
