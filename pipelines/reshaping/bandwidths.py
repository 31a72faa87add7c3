"""Fewer codebooks of the same codes: residual codebooks nest, the first of many are the few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.reshaping.parents import Parent
from tokenizer.codecs import describe_codec
from tokenizer.codecs.amounts import require_one_amount
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.codebooks.levels import cut_in_two, first_levels
from tokenizer.codecs.codebooks.words import describe_codebooks
from tokenizer.codecs.registry import stored_amount
from tokenizer.errors import CodecLoadError, UsageError

_CLOSE = 1e-3
"""share by which a bandwidth may differ from what codebooks come to: people write 1.1 for 1.1003"""


def cut_down(parent: Parent, bandwidth: float | None, n_q: int | None = None) -> CodecSpec:
    """The codec of a parent's first codebooks, by a bandwidth in kbps or by their number; neither
    keeps them all.

    Raises:
        UsageError: the codec has no such bandwidth, or the parent has less.
    """
    spec = parent.stored.codec
    if bandwidth is not None and n_q is not None:
        raise UsageError(f"--bandwidth {bandwidth:g}, --n-q {n_q}: give one of them")
    if n_q is not None:
        return _first(parent, spec, n_q)
    if bandwidth is None or _same(bandwidth, spec.bandwidth):
        return spec
    if not 0 < bandwidth < spec.bandwidth:
        raise UsageError(
            f"--bandwidth {bandwidth:g}: {parent.out} has {spec.bandwidth:.4g} kbps: give less"
        )
    count = _count(spec, bandwidth)
    if count is None or count not in _fewer(spec):
        each = ", ".join(f"{spec.bandwidth_of(one):.4g}" for one in _fewer(spec))
        raise UsageError(
            f"--bandwidth {bandwidth:g}: the first codebooks of {spec.codec} come to {each} kbps; "
            "give one of these, or --n-q"
        )
    return _only(spec, count, bandwidth)


def _count(spec: CodecSpec, bandwidth: float) -> int | None:
    """Codebooks that a bandwidth stands for: as the codec says, where it is here."""
    known, n_q = stored_amount(spec)
    try:
        describe_codec(spec.codec, bandwidth=known, n_q=n_q, revision=spec.revision)
    except CodecLoadError:  # it is not here: what is stored must do
        near = (one for one in _fewer(spec) if _same(bandwidth, spec.bandwidth_of(one)))
        return next(near, None)
    return describe_codec(spec.codec, bandwidth=bandwidth, revision=spec.revision).n_q


def _fewer(spec: CodecSpec) -> list[int]:
    """Numbers of codebooks below all of them: of whole levels."""
    repeats = spec.level_repeats
    return [one for one in range(1, spec.n_q) if not cut_in_two(spec.codec, repeats, one)]


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= _CLOSE * other


def _first(parent: Parent, spec: CodecSpec, n_q: int) -> CodecSpec:
    try:
        require_one_amount(None, n_q)
    except CodecLoadError as error:
        raise UsageError(f"--n-q {n_q}: give a number of codebooks, 1 or more") from error
    if n_q > spec.n_q:
        raise UsageError(f"--n-q {n_q}: {parent.out} has {spec.n_q} codebooks: give at most those")
    return spec if n_q == spec.n_q else _only(spec, n_q, spec.bandwidth_of(n_q))


def _only(spec: CodecSpec, n_q: int, bandwidth: float) -> CodecSpec:
    """
    Raises:
        UsageError: that would cut a level of several rows in two.
    """
    own, repeats = spec.sizes[:n_q], spec.level_repeats
    if wrong := cut_in_two(spec.codec, repeats, n_q):
        raise UsageError(f"--n-q {n_q}: {wrong}")
    return replace(
        spec,
        bandwidth=bandwidth,
        n_q=n_q,
        codebook_size=max(own),
        codebook_sizes=None if spec.codebook_sizes is None else own,
        level_repeats=None if repeats is None else first_levels(repeats, n_q),
    )


def require_one_codec(parents: Sequence[Parent], specs: Sequence[CodecSpec]) -> None:
    """
    Args:
        specs: of each parent, cut down as was asked for.

    Raises:
        UsageError: they have other codecs, weights or bandwidths, or other columns; all
            differences are listed.
    """
    first = _identity(parents[0], specs[0])
    said = [
        f"{name}: {first[name]} in {parents[0].out}, {value} in {parent.out}"
        for parent, spec in zip(parents[1:], specs[1:], strict=True)
        for name, value in _identity(parent, spec).items()
        if value != first[name]
    ]
    if not said:
        return
    least = min(spec.n_q for spec in specs)
    only = all(one.startswith(("bandwidth", "codebooks")) for one in said)
    hint = f": --n-q {least} cuts all down to the first codebooks" if only else ""
    raise UsageError(f"these do not belong together ({'; '.join(said)}){hint}")


def _identity(parent: Parent, spec: CodecSpec) -> dict[str, str]:
    """What has to be the same, by the words that it is told in."""
    weightless = spec.weights_sha256 == "none"
    return {
        "codec": spec.codec if weightless else f"weights {spec.weights_sha256[:16]}",
        "bandwidth": f"{spec.bandwidth:.4g} kbps",
        "codebooks": describe_codebooks(spec),
        "sample rate": f"{spec.sample_rate} Hz",
        "channels": str(spec.channels),
        "frame": f"{spec.frame_length} samples",
        "chunks": f"{spec.chunk_length} samples every {spec.chunk_stride}",
        "windows": f"{spec.window_length} samples, {spec.window_context} of the neighbours'",
        "scales": "yes" if spec.has_scales else "no",
        "precision": f"{spec.precision} {spec.dtype}",
        "quality columns": ", ".join(parent.quality) or "none",
    }
