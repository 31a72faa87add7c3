"""What NumPy cannot do quickly, compiled by numba. Imported by those who compute, and only then:
importing numba takes a third of a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

_Function = TypeVar("_Function", bound=Callable[..., object])


def _compiled(function: _Function) -> _Function:
    """Compile at the first call, and keep the result on disk where there is a place for it."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    try:
        kernel: _Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the package nor in the user's cache folder
        kernel = numba.njit(**options)(function)
    return kernel


@_compiled
def k_weighted_energies(
    block: NDArray[np.float32],
    coefficients: NDArray[np.float64],
    state: NDArray[np.float64],
    ends: NDArray[np.int64],
    energies: NDArray[np.float64],
) -> None:
    """Add to each of `energies` that of all channels up to the same one of `ends`.

    Args:
        block: `[channels, n]`.
        coefficients: of `tokenizer.audio.quality.loudness.k_weighting`.
        state: `[channels, 6]`: the last two samples before, between and behind the filters.
        ends: samples at which the stretches end; what follows the last one that is wanted is not
            looked at.
        energies: `[stretches]`.
    """
    b0, b1, b2, a1, a2, c1, c2 = coefficients
    for channel in range(block.shape[0]):
        x1, x2, y1, y2, z1, z2 = state[channel]
        first = 0
        for stretch in range(len(energies)):
            energy = 0.0
            for at in range(first, ends[stretch]):
                x = np.float64(block[channel, at])
                # Direct form: but for the last product, nothing waits for the sample before.
                y = (b0 * x + b1 * x1 + b2 * x2 - a2 * y2) - a1 * y1
                z = (y - 2.0 * y1 + y2 - c2 * z2) - c1 * z1
                energy += z * z
                x2, x1, y2, y1, z2, z1 = x1, x, y1, y, z1, z
            first = ends[stretch]
            energies[stretch] += energy
        state[channel] = np.array([x1, x2, y1, y2, z1, z2])
