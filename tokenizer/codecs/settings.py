"""What the settings of a config.json can be: families say in these words what theirs must be, and
whatever else transformers trips over ends in one line too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokenizer.codecs.lookup import Checkpoint
from tokenizer.errors import CodecLoadError

MOST_CODEBOOKS = 1_024
"""more than any codec has; a config.json that says more is damaged"""
SEANET_COUNTS = (
    "sampling_rate",
    "audio_channels",
    "hidden_size",
    "num_filters",
    "kernel_size",
    "last_kernel_size",
    "residual_kernel_size",
    "compress",
)
"""what an EnCodec and a Mimi count of their SEANet"""
MOST_LAYERS = 1_024
"""likewise of layers"""
_MOST = 10_000_000
"""likewise of anything that is counted: hertz, channels, samples of a frame"""
_RAISED = (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError)
"""what settings that make no sense raise in the arithmetic that is done with them"""


@contextmanager
def guarded_settings(checkpoint: Checkpoint) -> Iterator[None]:
    """
    Raises:
        CodecLoadError: what is done inside cannot be done with the checkpoint's settings.
    """
    try:
        yield
    except _RAISED as error:
        text = " ".join(str(error).split())
        raise CodecLoadError(
            f"codec {checkpoint.name}: no {checkpoint.model_type} has the settings of its "
            f"config.json ({type(error).__name__}: {text}): get the file again from where the "
            "checkpoint came from"
        ) from error


def require_settings(checkpoint: Checkpoint, wrong: str | None) -> None:
    """
    Args:
        checkpoint: for the message.
        wrong: a setting, and what it must be; None where all is well.

    Raises:
        CodecLoadError: there is one.
    """
    if wrong is not None:
        raise CodecLoadError(f"codec {checkpoint.name}: its config.json has {wrong}")


def wrong_counts(config: Any, *names: str, least: int = 1, most: int = _MOST) -> str | None:
    """The first of these settings that is no whole number in a range."""
    for name in names:
        value = getattr(config, name, None)
        if not _counts(value, least, most):
            return f"{name} {value!r}: it must be a whole number, {least:,} to {most:,}"
    return None


def wrong_ratios(config: Any, name: str, least: int = 1) -> str | None:
    """The same of a setting that is a list of strides, or of levels, with some in it."""
    value = getattr(config, name, None)
    whole = isinstance(value, list | tuple) and all(_counts(one, least, _MOST) for one in value)
    if not whole or not value:
        return f"{name} {_shown(value)}: it must be a list of whole numbers, each {least} or more"
    if math.prod(value) > _MOST:
        return f"{name} {_shown(value)}: their product must not be above {_MOST:,}"
    return None


def wrong_bandwidths(config: Any) -> str | None:
    """The same of `target_bandwidths`, and of the codebooks that they come to."""
    value = config.target_bandwidths
    numbers = isinstance(value, list | tuple) and all(_positive(one) for one in value)
    if not numbers or not value:
        return f"target_bandwidths {_shown(value)}: it must be a list of kbps, each above 0"
    if config.num_quantizers > MOST_CODEBOOKS:
        return (
            f"target_bandwidths {_shown(value)}: the last one comes to {config.num_quantizers:,} "
            f"codebooks; {MOST_CODEBOOKS:,} are the most"
        )
    return None


def wrong_strides(
    encoder: tuple[str, int], decoder: tuple[str, int], what: str = "samples a frame"
) -> str | None:
    """Two settings, each with what it comes to, that must come to the same."""
    if encoder[1] == decoder[1]:
        return None
    return f"{encoder[0]} of {encoder[1]:,} {what}, but {decoder[0]} of {decoder[1]:,}"


def _counts(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < math.inf  # type: ignore[operator]


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
