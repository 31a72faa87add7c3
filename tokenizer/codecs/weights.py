"""Weights of a checkpoint into a model of transformers, through one guarded function."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from tokenizer.errors import CodecLoadError

_SETTINGS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, TypeError)
"""what transformers raises where it makes a model of settings that make no sense"""


def load_pretrained(
    model_class: Any, folder: Path, device: torch.device, may_lack: tuple[str, ...] = ()
) -> Any:
    """A model in float32, ready for inference.

    Args:
        model_class: of transformers, with `from_pretrained`.
        folder: as `save_pretrained` writes it.
        device: that it is to compute on.
        may_lack: beginnings of names of tensors that inference does not use.

    Raises:
        CodecLoadError: no usable weights in the folder.
    """
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, report = model_class.from_pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with their names
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise CodecLoadError(
            f"codec {folder}: its weights do not load into what its config.json describes: "
            f"{_first_line(error)}"
        ) from error
    except _SETTINGS as error:
        raise CodecLoadError(
            f"codec {folder}: no {model_class.__name__} can be made of its config.json "
            f"({type(error).__name__}: {_first_line(error)}): get the file again from where the "
            "checkpoint came from"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    _require_shapes(folder, report["mismatched_keys"])
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(may_lack))
    if missing:  # transformers would fill them with random values
        raise CodecLoadError(
            f"codec {folder}: its weights lack {len(missing)} tensors, {missing[0]} first"
        )
    return model.eval().requires_grad_(False).to(device)


def _require_shapes(folder: Path, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """
    Raises:
        CodecLoadError: tensors have other shapes than the configuration gives them.
    """
    for name, found, expected in sorted(mismatched):
        raise CodecLoadError(
            f"codec {folder}: its weights are not those of its config.json: {name} is "
            f"{_shape(found)}, and {_shape(expected)} by the settings"
        )


def _shape(sizes: Iterable[int]) -> str:
    return "[" + ", ".join(str(size) for size in sizes) + "]"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
