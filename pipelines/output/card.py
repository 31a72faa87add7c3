"""`OUT/README.md`: a data set card that the Hub understands and that says how the codes came to
be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import yaml

from pipelines.output.config import TokenizeConfig
from pipelines.output.edited_card import BEGIN, END, updated
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import arrow_schema
from pipelines.output.manifest.records import Totals
from pipelines.output.plans.placing import TRAIN
from pipelines.output.quality.figures import scale_spread, spreads
from pipelines.output.storage import Storage
from pipelines.output.stored_run import StoredRun
from pipelines.system.words import many
from tokenizer.codecs.base import CodecSpec
from tokenizer.codecs.codebooks.words import describe_codebooks

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


@dataclass(frozen=True, slots=True)
class Published:
    """What a card says where nothing lies beside it but shards."""

    license: str | None = None
    languages: Sequence[str] = ()
    """ISO 639 codes"""
    coverage: Mapping[str, str] = field(default_factory=dict)
    """more rows of the table of properties"""
    bytes: Mapping[str, int] = field(default_factory=dict)
    """of the shards, by split"""
    audit: str | None = None
    """what an audit found, in a line"""
    codec: str | None = None
    """what the codec is called; None is as it was named"""


def write_card(storage: Storage, stored: StoredRun, totals: Totals) -> None:
    """Write the card from the stored configuration and what is committed; what people have put into
    it stays."""
    try:
        before = storage.read(CARD).decode("utf-8", "replace")
    except FileNotFoundError:
        before = None
    storage.write(CARD, updated(before, make_card(stored, totals)).encode())


def make_card(stored: StoredRun, totals: Totals, published: Published | None = None) -> str:
    """The card's text: YAML for the Hub, then a page for people."""
    config, codec = stored.config, stored.codec
    front = yaml.safe_dump(
        _front_matter(config, totals, published), sort_keys=False, allow_unicode=True
    )
    beside = "" if published else ": `manifest/commits/` says which and why"
    hours = totals.num_samples / codec.sample_rate / 3600
    what = (
        f"{many(totals.rows, 'recording')}, {_length(hours)}, "
        f"as discrete codes of a neural audio codec{_failed(totals.failures, beside)}"
        f"{_filtered(totals.filtered, config.keep)}."
    )
    facts = "\n".join(
        f"| {name} | {value} |" for name, value in _facts(stored, totals, published).items()
    )
    return f"""---
{front}---

# Audio codes

{BEGIN}
{what}

| property | value |
|---|---|
{facts}

{_COLUMNS}
{_quality(totals)}
```python
{shard_format(config.format).usage(next(iter(_splits(config, totals))))}
```
{END}
"""


def _facts(stored: StoredRun, totals: Totals, published: Published | None) -> dict[str, str]:
    """The table of properties."""
    codec = stored.codec
    chunks = (
        f"chunks of {codec.chunk_length} samples, one every {codec.chunk_stride}"
        if codec.chunk_length
        else "a recording is one chunk"
    )
    if codec.window_length is not None:
        chunks += (
            f"; beyond {codec.window_length} samples it is encoded in windows, with "
            f"{codec.window_context or 0} samples of their neighbours at both ends"
        )
    said = published or Published()
    name, revision = said.codec or codec.codec, codec.revision
    facts = {
        "codec": f"`{name}`{f' at revision `{revision}`' if revision else ''}",
        "weights": f"SHA-256 `{codec.weights_sha256}`",
        "bandwidth": f"{codec.bandwidth:.4g} kbps: {describe_codebooks(codec)} codes",
        "precision": _precision(codec, beside=published is None),
        "audio": f"{codec.sample_rate} Hz, {many(codec.channels, 'channel')}",
        "frames": f"{codec.frame_length} samples each; {chunks}",
        **said.coverage,
    }
    loudness = scale_spread(totals.scales)
    if loudness is not None:
        low, median, high = loudness.words()
        facts["scales"] = f"RMS of a chunk: median {median}, from {low} to {high}"
    if said.audit is not None:
        facts["audit"] = said.audit
    return facts | {"written by": f"codecshards {stored.version}"}


def _length(hours: float) -> str:
    return f"{hours:.2f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _failed(failures: int, why: str) -> str:
    if not failures:
        return ""
    return f"; {many(failures, 'recording')} of the source could not be tokenized{why}"


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


def _precision(codec: CodecSpec, beside: bool) -> str:
    if codec.precision == "exact":
        return "exact float32"
    more = "; `manifest/precision.json` says how many codes differ from exact ones"
    return f"fast: TF32 but for the quantizer{more if beside else ''}"


def _splits(config: TokenizeConfig, totals: Totals) -> dict[str, int]:
    """Rows by split; the one to train on first, where it is among them. Of one without a row
    `datasets` could read none, however many the others have."""
    found = {split: rows for split, rows in totals.splits.items() if rows}
    found = found or dict(totals.splits) or {config.split or TRAIN: 0}
    return {TRAIN: found[TRAIN], **found} if TRAIN in found else found


def _front_matter(
    config: TokenizeConfig, totals: Totals, published: Published | None
) -> dict[str, Any]:
    form, rows = shard_format(config.format), totals.rows
    splits = _splits(config, totals)
    said = published or Published()
    front: dict[str, Any] = {
        **({"license": said.license} if said.license else {}),
        **({"language": list(said.languages)} if said.languages else {}),
        "pretty_name": "Audio codes",
        "tags": ["audio", "codec", "encodec", "codecshards"],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>10M")],
    }
    if not form.for_the_hub:
        return front
    front["configs"] = [
        {
            "config_name": "default",
            "data_files": [
                {"split": split, "path": f"data/{split}-*{form.suffix}"} for split in splits
            ],
        }
    ]
    if config.format == "parquet":
        front["dataset_info"] = {"features": features_of(arrow_schema(config.measures))}
        if said.bytes:
            front["dataset_info"] |= _sizes(splits, said.bytes)
    return front


def _sizes(splits: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Rows and bytes, of what is published alone: `datasets` warns of rows without bytes, and with
    both refuses a folder that has grown since its card was written."""
    size = sum(sizes.values())
    return {
        "splits": [
            {"name": split, "num_bytes": sizes.get(split, 0), "num_examples": rows}
            for split, rows in splits.items()
        ],
        "download_size": size,
        "dataset_size": size,
    }


def features_of(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns as the Hub's cards have them: what `datasets.Features` writes, whose import would
    take longer than all of ours."""
    kinds = ((column.name, _kind(column.type)) for column in schema)
    return [
        {"name": name, **(kind if isinstance(kind, dict) else {"dtype": kind})}
        for name, kind in kinds
    ]


def _kind(type: pa.DataType) -> str | dict[str, Any]:
    if pa.types.is_list(type):
        return {"list": _kind(type.value_type)}
    return {"float": "float32", "double": "float64"}.get(str(type), str(type))
