"""What a codec is, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizer.codecs.base import CodecSpec


def describe_codebooks(spec: CodecSpec) -> str:
    """`4 codebooks of 1,024`; where their sizes differ, all of them."""
    different = sorted(set(spec.sizes))
    of = ", ".join(f"{size:,}" for size in (different[:1] if len(different) == 1 else spec.sizes))
    books = "codebook" if spec.n_q == 1 else "codebooks"
    rates = spec.level_repeats
    at = f" ({len(rates)} levels, {':'.join(map(str, rates))} codes a frame)" if rates else ""
    return f"{spec.n_q} {books} of {of}{at}"


def describe_spec(spec: CodecSpec) -> str:
    """`6 kbps: 4 codebooks of 1,024, 48,000 Hz stereo`."""
    channels = {1: "mono", 2: "stereo"}.get(spec.channels, f"{spec.channels} channels")
    return (
        f"{spec.bandwidth:.4g} kbps: {describe_codebooks(spec)}, {spec.sample_rate:,} Hz {channels}"
    )
