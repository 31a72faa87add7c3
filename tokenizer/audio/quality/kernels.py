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
def _of_two(
    block: NDArray[np.float32],
    coefficients: NDArray[np.float64],
    state: NDArray[np.float64],
    ends: NDArray[np.int64],
    energies: NDArray[np.float64],
) -> None:
    """`k_weighted_energies` of two channels side by side: what one waits for, its last sample, the
    other need not. Each channel's arithmetic is the same."""
    b0, b1, b2, a1, a2, c1, c2 = coefficients
    x1, x2, y1, y2, z1, z2 = state[0]
    u1, u2, v1, v2, w1, w2 = state[1]
    first = 0
    for stretch in range(len(energies)):
        energy = other = 0.0
        for at in range(first, ends[stretch]):
            x, u = np.float64(block[0, at]), np.float64(block[1, at])
            y = (b0 * x + b1 * x1 + b2 * x2 - a2 * y2) - a1 * y1
            v = (b0 * u + b1 * u1 + b2 * u2 - a2 * v2) - a1 * v1
            z = (y - 2.0 * y1 + y2 - c2 * z2) - c1 * z1
            w = (v - 2.0 * v1 + v2 - c2 * w2) - c1 * w1
            energy += z * z
            other += w * w
            x2, x1, y2, y1, z2, z1 = x1, x, y1, y, z1, z
            u2, u1, v2, v1, w2, w1 = u1, u, v1, v, w1, w
        first = ends[stretch]
        energies[stretch] += energy
        energies[stretch] += other
    state[0] = np.array([x1, x2, y1, y2, z1, z2])
    state[1] = np.array([u1, u2, v1, v2, w1, w2])


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
    if block.shape[0] == 2:
        _of_two(block, coefficients, state, ends, energies)
        return
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
