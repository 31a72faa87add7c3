"""`OUT/README.md`: a data set card that the Hub understands and that says how the codes came to
be."""

from __future__ import annotations

from typing import Any

import yaml
from datasets import Features

from pipelines.output.config import TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import arrow_schema
from pipelines.output.manifest.records import Totals
from pipelines.output.quality.figures import spreads
from pipelines.output.storage import Storage
from pipelines.output.stored_run import StoredRun
from pipelines.system.words import many
from tokenizer.codecs.base import CodecSpec

CARD = "README.md"
_SIZES = [
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
]

_COLUMNS = (
    "`codes` is `[n_q][frames]`, the valid frames of all chunks one after the other; "
    "`chunk_frames` says how many each chunk has, and\n`scales` holds the RMS that each was "
    "divided by. `num_samples` is the exact length of the recording at the codec's rate."
)


def write_card(storage: Storage, stored: StoredRun, totals: Totals) -> None:
    """Write the card from the stored configuration and what is committed."""
    storage.write(CARD, make_card(stored, totals).encode())


def make_card(stored: StoredRun, totals: Totals) -> str:
    """The card's text: YAML for the Hub, then a page for people."""
    config, codec = stored.config, stored.codec
    hours = totals.num_samples / codec.sample_rate / 3600
    front = yaml.safe_dump(_front_matter(config, totals), sort_keys=False)
    chunks = (
        f"chunks of {codec.chunk_length} samples, one every {codec.chunk_stride}"
        if codec.chunk_length
        else "a recording is one chunk"
    )
    what = (
        f"{many(totals.rows, 'recording')}, {_length(hours)}, as discrete codes of a neural audio "
        f"codec{_failed(totals.failures)}{_filtered(totals.filtered, config.keep)}."
    )
    return f"""---
{front}---

# Audio codes

{what}

| property | value |
|---|---|
| codec | `{codec.codec}`{f" at revision `{codec.revision}`" if codec.revision else ""} |
| weights | SHA-256 `{codec.weights_sha256}` |
| bandwidth | {codec.bandwidth:g} kbps: {codec.n_q} codebooks of {codec.codebook_size} codes |
| precision | {_precision(codec)} |
| audio | {codec.sample_rate} Hz, {codec.channels} channel{"s" if codec.channels > 1 else ""} |
| frames | {codec.frame_length} samples each; {chunks} |
| written by | codecshards {stored.version} |

{_COLUMNS}
{_quality(totals)}
```python
{shard_format(config.format).usage(config.split)}
```
"""


def _length(hours: float) -> str:
    return f"{hours:.2f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _failed(failures: int) -> str:
    if not failures:
        return ""
    return (
        f"; {many(failures, 'recording')} of the source could not be tokenized: "
        "`manifest/commits/` says which and why"
    )


def _filtered(filtered: int, keep: str | None) -> str:
    if not filtered:
        return ""
    return f"; {many(filtered, 'recording')} of the source left out, as not `{keep}`"


def _quality(totals: Totals) -> str:
    """A table of the quality columns; nothing where there are none."""
    about: dict[str, Any] = {}
    for columns, _ in totals.measured:
        about |= columns
    lines = []
    for name, spread in spreads(totals.measured).items():
        found = " | ".join(spread.words() if spread else ["", "", ""])
        lines.append(f"| `{name}` | {about[name]['unit']} | {found} | {about[name]['what']} |")
    if not lines:
        return ""
    head = "| quality | unit | lowest | median | highest | what it is |\n|---|---|---|---|---|---|"
    return "\n".join(["", head, *lines, ""])


def _precision(codec: CodecSpec) -> str:
    if codec.precision == "exact":
        return "exact float32"
    return (
        "fast: TF32 but for the quantizer; `manifest/precision.json` says how many codes differ "
        "from exact ones"
    )


def _front_matter(config: TokenizeConfig, totals: Totals) -> dict[str, Any]:
    suffix, rows = shard_format(config.format).suffix, totals.rows
    splits = dict(totals.splits) or {config.split: 0}
    front: dict[str, Any] = {
        "pretty_name": "Audio codes",
        "tags": ["audio", "codec", "encodec", "codecshards"],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>10M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": f"data/{split}-*{suffix}"} for split in splits
                ],
            }
        ],
    }
    if config.format == "parquet":
        features = Features.from_arrow_schema(arrow_schema(config.measures))._to_yaml_list()
        front["dataset_info"] = {
            "features": features,
            "splits": [{"name": split, "num_examples": of} for split, of in splits.items()],
        }
    return front
