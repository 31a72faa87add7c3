"""Fewer codebooks of the same codes: residual codebooks nest, the first of many are the few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.reshaping.parents import Parent
from tokenizer.codecs import describe_codec
from tokenizer.codecs.base import CodecSpec
from tokenizer.errors import CodecLoadError, UsageError


def cut_down(parent: Parent, bandwidth: float | None) -> CodecSpec:
    """The codec of a parent's first codebooks at a bandwidth in kbps; None keeps them all.

    Raises:
        UsageError: the codec has no such bandwidth, or the parent has less.
    """
    spec = parent.stored.codec
    if bandwidth is None or bandwidth == spec.bandwidth:
        return spec
    if not 0 < bandwidth < spec.bandwidth:
        raise UsageError(
            f"--bandwidth {bandwidth:g}: {parent.out} has {spec.bandwidth:g} kbps: give less"
        )
    each = spec.bandwidth / spec.n_q
    n_q = round(bandwidth / each)
    try:
        describe_codec(spec.codec, bandwidth=spec.bandwidth, revision=spec.revision)
    except CodecLoadError:  # it is not here: what is stored must do
        known = n_q >= 1 and abs(n_q * each - bandwidth) < 1e-6 * bandwidth
    else:
        found = describe_codec(spec.codec, bandwidth=bandwidth, revision=spec.revision)
        n_q, known = found.n_q, True
    if not known or not 1 <= n_q < spec.n_q:
        raise UsageError(
            f"--bandwidth {bandwidth:g}: a codebook of {spec.codec} has {each:g} kbps, and "
            f"{parent.out} has {spec.n_q} of them"
        )
    return replace(spec, bandwidth=bandwidth, n_q=n_q)


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
    least = min(spec.bandwidth for spec in specs)
    only = all(one.startswith(("bandwidth", "codebooks")) for one in said)
    hint = f": --bandwidth {least:g} cuts all down to the first codebooks" if only else ""
    raise UsageError(f"these do not belong together ({'; '.join(said)}){hint}")


def _identity(parent: Parent, spec: CodecSpec) -> dict[str, str]:
    """What has to be the same, by the words that it is told in."""
    weightless = spec.weights_sha256 == "none"
    return {
        "codec": spec.codec if weightless else f"weights {spec.weights_sha256[:16]}",
        "bandwidth": f"{spec.bandwidth:g} kbps",
        "codebooks": f"{spec.n_q} of {spec.codebook_size}",
        "sample rate": f"{spec.sample_rate} Hz",
        "channels": str(spec.channels),
        "frame": f"{spec.frame_length} samples",
        "chunks": f"{spec.chunk_length} samples every {spec.chunk_stride}",
        "scales": "yes" if spec.has_scales else "no",
        "precision": f"{spec.precision} {spec.dtype}",
        "quality columns": ", ".join(parent.quality) or "none",
    }
