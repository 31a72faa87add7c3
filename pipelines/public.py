"""`tokenize`, as Python has it: the command's options by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus
from pipelines.system.compute import DECODE_TIMEOUT
from pipelines.system.places import places_named
from pipelines.tokenizing.outcome import RunResult


def tokenize(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    codec: str = "facebook/encodec_48khz",
    revision: str | None = None,
    bandwidth: float | None = None,
    n_q: int | None = None,
    format: str = "parquet",
    shard_hours: float = 2.0,
    split: str | None = None,
    downmix: bool = False,
    channels: str | None = None,
    stream: int | None = None,
    allow_truncated: bool = False,
    allow_damaged: bool = False,
    max_chunk_seconds: float = 300.0,
    precision: str = "exact",
    follow_links: bool = False,
    layout: str | None = None,
    layout_split: str | None = None,
    map: str | None = None,
    audio_root: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    tags: bool = False,
    quality: str = "none",
    keep: str | None = None,
    cut: str | None = None,
    cut_max: float | None = None,
    cut_min: float | None = None,
    cut_pad: float | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    address: str | None = None,
    device: str = "auto",
    max_failures: int | None = None,
    decode_timeout: float = DECODE_TIMEOUT,
    quiet: bool = False,
    reference: bool = False,
    audit: float | None = None,
    append: bool = False,
    retry_failed: Sequence[str] | None = None,
    part: str | None = None,
    moved: Sequence[str] = (),
) -> RunResult:
    """Turn a corpus into shards of codes in `out`, or finish what an earlier run began there.

    Recordings that cannot be tokenized do not raise: they are counted in the result, and
    `codecshards inspect OUT --failures` says which and why.

    Args:
        source: a folder, an audio file, a table of files, tars, Parquet files, or
            `hf:NAME[:config]:split`; a list of several is one corpus.
        out: folder or URL of the output.
        codec: hub id, folder written by `save_pretrained`, or a codec that ships with the package.
        revision: hub commit, tag or branch.
        bandwidth: kbps; None is 6 where the codec offers it, else all of its codebooks.
        n_q: number of codebooks, instead of a bandwidth.
        format: of the shards, "parquet" or "webdataset".
        shard_hours: audio hours that a shard is planned to hold.
        split: one for all recordings; None is those that the corpus has, or "train".
        downmix: mix more than two channels down (ITU); False makes them failures.
        channels: "mix" to mono, "left", "right", or "split", a row for each; None is all channels.
        stream: track of sound in files with several, from 0; None is the file's default.
        allow_truncated: keep what is there of files that end early, flagged in `meta`.
        allow_damaged: keep files in which something is missing, with silence there.
        max_chunk_seconds: longest recording for codecs that take recordings whole.
        precision: "exact", or on GPUs "fast", which has some other codes.
        follow_links: read also what the data lead to outside of the source.
        layout: take the source for this layout, or for none, "folder"; None is as recognised.
        layout_split: one split of a layout; None is all.
        map: columns of a table, as in "text=sentence,speaker=client_id".
        audio_root: folder where relative paths of a table begin.
        delimiter: of a table, a character or its name.
        encoding: of tables and transcripts; None is UTF-8, or what a byte order mark says.
        tags: carry what files are tagged with, artist, title and the like, as `meta["tags"]`.
        quality: columns that say how good a recording is: "none", "basic" (all), or names.
        cut: recordings of over `cut_max` seconds become segments: "silence" cuts in pauses, "vad"
            around speech, "fixed" at equal lengths; None leaves them whole.
        cut_max: seconds of the longest segment (30).
        cut_min: seconds of the shortest (1).
        cut_pad: seconds of silence that are kept on both sides (0.2).
        keep: condition on the columns of a row, and `seconds`; the others are `filtered`.
        workers: CPU cores to use; None is all of them, 0 does everything in this process.
        gpus: encoders that hold a GPU each; None is all there are.
        address: Ray cluster to join, "auto" or "ray://host:port"; None starts one here.
        device: "auto", "cpu" or "cuda".
        max_failures: stop when more recordings than this have failed.
        decode_timeout: seconds without progress after which a file's reader is ended.
        quiet: show nothing.
        reference: compute with transformers' own modules.
        audit: share of the recordings that are decoded and measured in passing.
        append: when all is committed, do what is new in `source`, in new shards.
        retry_failed: when all is committed, try recordings that failed again, in new shards: of
            these kinds, or `()` for those that may be mended.
        part: "K/N": every Nth shard only, from the Kth on; N jobs do all.
        moved: `OLD=NEW` each: the corpus has moved since the first run. Its names began with OLD,
            which rows go on with, and begin with NEW now.

    Returns:
        Totals of what `out` holds now, earlier runs included.

    Raises:
        UsageError: anything that makes the run impossible, in one line, before work starts where
            that can be known.
        SourceError: the corpus cannot be listed.
        OutputError: `out` cannot be written, or holds another run's output.
    """
    config = TokenizeConfig(
        places_named(source),
        codec=codec,
        revision=revision,
        bandwidth=bandwidth,
        n_q=n_q,
        format=format,
        shard_hours=shard_hours,
        split=split,
        downmix=downmix,
        channels=channels,
        stream=stream,
        allow_truncated=allow_truncated,
        allow_damaged=allow_damaged,
        max_chunk_seconds=max_chunk_seconds,
        precision=precision,
        follow_links=follow_links,
        layout=layout,
        layout_split=layout_split,
        map=map,
        audio_root=audio_root,
        delimiter=delimiter,
        encoding=encoding,
        tags=tags,
        quality=quality,
        keep=keep,
        cut=cut,
        cut_max=cut_max,
        cut_min=cut_min,
        cut_pad=cut_pad,
    )
    options = RunOptions(
        workers=workers,
        gpus=gpus,
        address=address,
        device=device,
        max_failures=max_failures,
        decode_timeout=decode_timeout,
        quiet=quiet,
        reference=reference,
        audit=audit,
        append=append,
        retry_failed=retry_failed,  # type: ignore[arg-type]  # `settle` makes a tuple of it
        part=part,
        moved=moved,  # type: ignore[arg-type]
    )
    return tokenize_corpus(config, os.fspath(out) if isinstance(out, os.PathLike) else out, options)
