"""Documents of token ids: what training programs read, against readers that share nothing with
ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from loader_data import make_rows, write_output

import codecshards as cs
from pipelines.cli.main import main
from pipelines.exporting.token_map import PATTERNS, SPECIALS, TokenMap
from pipelines.output.formats import shard_format
from pipelines.output.formats.schema import Row, make_footer
from tokenizer.codecs.mulaw import describe_mulaw
from tokenizer.errors import OutputError, ShapeError, UsageError

SPEC = replace(describe_mulaw(6.0), n_q=4, has_scales=True, codebook_size=16)
FLAT = [pattern for pattern in PATTERNS if pattern != "interleaved"]
"""for levels of one rate"""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows(11, SPEC, longest=0.4)


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rows: Any) -> str:
    place = tmp_path_factory.mktemp(request.param) / "out"
    return str(write_output(place, rows, form=request.param, spec=SPEC))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer of bytes, which brings every text back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        ["text of a recording"] * 3,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>").save_pretrained(str(folder))
    return str(folder)


def by_hand(pattern: str, codes: Any, first: int, size: int, pad: int) -> list[int]:
    """The audio part of a document, written down code by code."""
    n_q, frames = codes.shape
    ids = [[first + k * size + int(c) for c in codes[k]] for k in range(n_q)]
    if pattern == "flatten":
        return [ids[k][t] for t in range(frames) for k in range(n_q)]
    if pattern == "coarse-first":
        return ids[0] + [ids[k][t] for t in range(frames) for k in range(1, n_q)]
    return [
        ids[k][t - k] if 0 <= t - k < frames else pad
        for t in range(frames + n_q - 1)
        for k in range(n_q)
    ]


def read_indexed(prefix: Path) -> Iterator[list[int]]:
    """Documents of an indexed data set, by its published layout alone."""
    index, data = Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, kind, sequences, boundaries = struct.unpack_from("<QBQQ", index, 9)
    assert (version, boundaries) == (1, sequences + 1)
    letter, width = {4: ("i", 4), 8: ("H", 2)}[kind]
    lengths = struct.unpack_from(f"<{sequences}i", index, 34)
    pointers = struct.unpack_from(f"<{sequences}q", index, 34 + 4 * sequences)
    documents = struct.unpack_from(f"<{boundaries}q", index, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * boundaries
    assert len(data) == width * sum(lengths)
    for first, last in pairwise(documents):
        assert last == first + 1
        yield list(struct.unpack_from(f"<{lengths[first]}{letter}", data, pointers[first]))


@pytest.mark.parametrize("pattern", FLAT)
def test_megatron_documents_are_what_one_writes_by_hand(
    pattern: str, out: str, rows: list[Row], words: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    new = tmp_path / "new"
    done = cs.export_codes(out, str(new), to="megatron", pattern=pattern, text_tokenizer=words)
    other = AutoTokenizer.from_pretrained(words)
    size = len(other)
    special = {name: size + number for number, name in enumerate(SPECIALS)}
    table = pq.read_table(new / "train.documents.parquet").to_pylist()
    documents = list(read_indexed(new / "train"))
    assert len(documents) == len(rows) == len(table) == done.documents["train"]
    assert sum(map(len, documents)) == done.tokens and done.dtype == "uint16"
    for number, (row, ids, side) in enumerate(zip(rows, documents, table, strict=True)):
        audio = by_hand(pattern, row.codes.codes, size + 7, 16, special["pad"])
        text = other(row.text)["input_ids"] if row.text else None
        said = [special["text_start"], *text, special["text_end"]] if text else []
        around = special["audio_start"], special["audio_end"], special["eos"]
        assert ids == [special["bos"], *said, around[0], *audio, *around[1:]]
        assert (side["document"], side["id"], side["tokens"]) == (number, row.id, len(ids))
        back = cs.codes_from_tokens(ids, new)
        scales = np.array(side["scales"], np.float32)
        frames = np.array(side["chunk_frames"], np.uint16)
        rate = describe_mulaw(6.0).sample_rate
        codes = cs.Codes(back.codes, scales, frames, side["num_samples"], rate)
        assert codes.equals(row.codes)
        assert (back.text, side["text"]) == (row.text, row.text)
    assert done.without_text == sum(row.text is None for row in rows)


def test_megatron_core_reads_it(out: str, tmp_path: Path) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    cs.export_codes(out, str(tmp_path / "new"), to="megatron")
    prefix = tmp_path / "new" / "train"
    read = indexed.IndexedDataset(str(prefix))
    ours = list(read_indexed(prefix))
    assert [one.tolist() for one in read] == ours
    assert read.document_indices.tolist() == list(range(len(ours) + 1))


@pytest.mark.parametrize("pattern", FLAT)
def test_datasets_reads_the_same_ids(
    pattern: str, out: str, rows: list[Row], tmp_path: Path
) -> None:
    from datasets import load_from_disk

    for form in ("megatron", "arrow"):
        cs.export_codes(out, str(tmp_path / form), to=form, pattern=pattern, quiet=True)
    read = load_from_disk(str(tmp_path / "arrow"))["train"]
    assert list(read["input_ids"]) == list(read_indexed(tmp_path / "megatron" / "train"))
    assert list(read["id"]) == [row.id for row in rows]
    assert len(load_from_disk(str(tmp_path / "arrow" / "train"))) == len(rows)
    back = cs.codes_from_tokens(read[3]["input_ids"], tmp_path / "arrow")
    assert np.array_equal(back.codes, rows[3].codes.codes) and back.text is None
    assert read[3]["scales"] == rows[3].codes.scales.tolist()  # type: ignore[union-attr]


def test_arrow_files_are_cut_at_their_size(
    out: str, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import load_from_disk

    monkeypatch.setattr("pipelines.exporting.arrow.FILE_BYTES", 1)
    monkeypatch.setattr("pipelines.exporting.arrow._BATCH_ROWS", 4)
    cs.export_codes(out, str(tmp_path / "new"), to="arrow")
    names = sorted(path.name for path in (tmp_path / "new" / "train").glob("*.arrow"))
    assert names == [f"data-{n:05d}-of-00003.arrow" for n in range(3)]
    assert list(load_from_disk(str(tmp_path / "new" / "train"))["id"]) == [row.id for row in rows]


def test_a_large_vocabulary_has_larger_ids(tmp_path: Path) -> None:
    spec = replace(SPEC, codebook_size=20_000)
    rows = make_rows(3, spec, longest=0.1)
    out = write_output(tmp_path / "out", rows, spec=spec)
    done = cs.export_codes(str(out), str(tmp_path / "new"), to="megatron", pattern="flatten")
    assert (done.dtype, done.vocabulary) == ("int32", 4 * 20_000 + 7)
    ids = list(read_indexed(tmp_path / "new" / "train"))
    assert max(max(one) for one in ids) > 65_535
    back = cs.codes_from_tokens(ids[1], tmp_path / "new")
    assert np.array_equal(back.codes, rows[1].codes.codes)
    assert TokenMap("delay", 4, (65_499 - 7) // 4).size < 65_500


def test_some_rows_of_fewer_codebooks(out: str, rows: list[Row], tmp_path: Path) -> None:
    where = "seconds > 0.2 and text is not null"
    cs.export_codes(out, str(tmp_path / "new"), to="arrow", n_q=2, where=where)
    from datasets import load_from_disk

    read = load_from_disk(str(tmp_path / "new"))["train"]
    wanted = [row for row in rows if row.codes.seconds > 0.2 and row.text is not None]
    assert 0 < len(wanted) < len(rows)
    assert list(read["id"]) == [row.id for row in wanted]
    for ids, row in zip(read["input_ids"], wanted, strict=True):
        back = cs.codes_from_tokens(ids, tmp_path / "new")
        assert np.array_equal(back.codes, row.codes.codes[:2])


def test_the_same_rows_give_the_same_bytes(out: str, tmp_path: Path) -> None:
    for form in ("megatron", "arrow"):
        for name in ("a", "b"):
            cs.export_codes(out, str(tmp_path / form / name), to=form)
        files = [path for path in (tmp_path / form / "a").rglob("*") if path.is_file()]
        assert len(files) > 3
        for path in files:
            twin = tmp_path / form / "b" / path.relative_to(tmp_path / form / "a")
            assert path.read_bytes() == twin.read_bytes()


def test_splits_are_apart(tmp_path: Path, rows: list[Row]) -> None:
    out = tmp_path / "out"
    write_output(tmp_path / "one", rows[:5], shards=1, manifest=False, spec=SPEC)
    write_output(tmp_path / "two", rows[5:], shards=2, manifest=False, spec=SPEC)
    out.mkdir()
    for folder, split in (("one", "train"), ("two", "valid")):
        for path in (tmp_path / folder / "data").iterdir():
            path.rename(out / path.name.replace("train", split))
    done = cs.export_codes(str(out), str(tmp_path / "new"), to="megatron")
    assert done.documents == {"train": 5, "valid": 6}
    assert len(list(read_indexed(tmp_path / "new" / "valid"))) == 6
    cs.export_codes(str(out), str(tmp_path / "arrow"), to="arrow")
    from datasets import load_from_disk

    assert {k: len(v) for k, v in load_from_disk(str(tmp_path / "arrow")).items()} == done.documents


def test_a_split_may_have_no_row(out: str, tmp_path: Path) -> None:
    """All of it failed, or was dropped: the others are read, here and by `datasets`."""
    split, again, bare = (str(tmp_path / name) for name in ("split", "again", "bare"))
    cs.split_codes(out, split, valid=0.4, quiet=True)
    cs.drop_codes(split, [row.id for row in cs.CodesDataset(split, split="valid")])
    cs.compress_codes(split, again, coder="static", workers=0, quiet=True)
    for number, place in enumerate((split, again)):
        done = cs.export_codes(place, str(tmp_path / f"new{number}"), to="megatron", quiet=True)
        assert done.documents == {"train": len(cs.CodesDataset(split, split="train"))}
    shutil.copytree(Path(again, "data"), bare)
    form = shard_format("coded")
    form.write(f"{bare}/valid-00000-of-00001{form.suffix}", [], make_footer(SPEC, "1"))
    assert cs.export_codes(
        bare, str(tmp_path / "new"), to="arrow", quiet=True
    ).documents.keys() == {"train"}
    with pytest.raises(UsageError, match="no recordings of the split valid"):
        cs.CodesDataset(split, split="valid")
    read = datasets.load_dataset(split, cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in read.items()} == done.documents
    cs.drop_codes(split, where="true")
    with pytest.raises(UsageError, match="holds no recordings"):
        cs.export_codes(split, str(tmp_path / "none"), to="arrow", quiet=True)


def test_splits_of_a_manifest_are_apart_and_conditions_hold_for_all(
    out: str, rows: list[Row], tmp_path: Path
) -> None:
    cs.split_codes(out, str(tmp_path / "split"), valid=0.4, quiet=True)
    where = "seconds > 0.15"
    done = cs.export_codes(str(tmp_path / "split"), str(tmp_path / "new"), to="arrow", where=where)
    assert set(done.documents) == {"train", "valid"}
    from datasets import load_from_disk

    read = load_from_disk(str(tmp_path / "new"))
    found = {row["id"]: row["input_ids"] for split in read.values() for row in split}
    wanted = {row.id: row.codes.codes for row in rows if row.codes.seconds > 0.15}
    assert set(found) == set(wanted) and sum(done.documents.values()) == len(wanted) < len(rows)
    for id, ids in found.items():
        assert np.array_equal(cs.codes_from_tokens(ids, tmp_path / "new").codes, wanted[id])


def test_a_text_that_looks_like_a_special_token_is_text(words: str, tmp_path: Path) -> None:
    rows = [replace(row, text="a </s> b") for row in make_rows(1, SPEC, longest=0.1)]
    out = write_output(tmp_path / "out", rows, shards=1, spec=SPEC)
    cs.export_codes(str(out), str(tmp_path / "new"), to="megatron", text_tokenizer=words)
    (ids,) = read_indexed(tmp_path / "new" / "train")
    back = cs.codes_from_tokens(ids, tmp_path / "new")
    assert back.text == "a </s> b" and back.text_ids is not None and 0 not in back.text_ids


def test_a_new_folder_with_something_in_it_is_left_alone(out: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "mine").write_text("x")
    with pytest.raises(OutputError, match="is there already"):
        cs.export_codes(out, str(new), to="arrow")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    (new / "mine").unlink()
    assert cs.export_codes(out, str(new), to="arrow").documents == {"train": 11}
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "webdataset"], "--to webdataset: choose one of megatron, arrow"),
        (["--to", "arrow", "--pattern", "parallel"], "--pattern parallel: choose one of delay"),
        (["--to", "arrow", "--n-q", "5"], "has 4 codebooks: n_q=5"),
        (["--to", "arrow", "--where", "second > 1"], "there is no second"),
        (["--to", "arrow", "--where", "seconds > 99"], "no recording for which --where"),
        (["--to", "arrow", "--text-tokenizer", "/no/such"], "--text-tokenizer /no/such: not a"),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_nothing(
    arguments: list[str], said: str, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", out, str(tmp_path / "new"), *arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and "\n" not in told
    assert not list(tmp_path.iterdir())


def test_damage_is_told_and_leaves_nothing(tmp_path: Path, rows: list[Row]) -> None:
    out = write_output(tmp_path / "out", rows, spec=SPEC)
    shard = sorted((out / "data").iterdir())[-1]
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)
    assert main(["export", str(out), str(tmp_path / "new"), "--to", "megatron"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_killed_run_leaves_nothing_by_the_name_and_the_next_one_is_whole(
    out: str, rows: list[Row], tmp_path: Path
) -> None:
    script = (
        "import sys, time, codecshards as cs\n"
        "from pipelines.exporting.megatron import MegatronWriter as W\n"
        "before = W.add\n"
        "def slow(self, *given):\n"
        "    before(self, *given); self._bin.flush(); print(flush=True); time.sleep(60)\n"
        "W.add = slow\n"
        "cs.export_codes(sys.argv[1], sys.argv[2], to='megatron')\n"
    )
    new = tmp_path / "new"
    run = subprocess.Popen([sys.executable, "-c", script, out, str(new)], stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline()
    with pytest.raises(OutputError, match="is being written by another run"):
        cs.export_codes(out, str(new), to="megatron")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".new.partial"]
    cs.export_codes(out, str(new), to="megatron")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert len(list(read_indexed(new / "train"))) == len(rows)


REPEATS = {1: (1,), 2: (1, 1), 3: (1, 2)}
"""rows of each level, for the pattern that asks for them"""


def repeats_for(pattern: str, n_q: int) -> tuple[int, ...] | None:
    return REPEATS[n_q] if pattern == "interleaved" else None


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("sizes", [None, (16, 3, 9)])
@pytest.mark.parametrize("n_q", [1, 3])
@pytest.mark.parametrize("frames", [0, 1, 2, 7])
def test_every_document_comes_back_and_what_a_model_left_unfinished(
    pattern: str, sizes: tuple[int, ...] | None, n_q: int, frames: int
) -> None:
    own = None if sizes is None else sizes[:n_q]
    rng = np.random.default_rng(frames)
    codes = np.stack([rng.integers(0, size, frames) for size in own or (16,) * n_q])
    codes = codes.astype(np.uint16)
    map_ = TokenMap(pattern, n_q, 16, 9, own, repeats_for(pattern, n_q))
    assert map_.size == map_.first_code + sum(own or (16,) * n_q)
    ids = map_.document(codes, [1, 2, 8])
    assert np.array_equal(map_.codes(ids), codes) and map_.text(ids) == [1, 2, 8]
    of = map_.specials
    padded = np.concatenate([ids, np.full(5, of["pad"])])
    assert np.array_equal(map_.codes(padded), codes)
    assert TokenMap.from_json(json.loads(json.dumps(map_.to_json()))) == map_
    start = int(np.flatnonzero(ids == of["audio_start"])[0]) + 1
    audio = ids[start:-2]
    assert np.array_equal(map_.codes(audio), codes)
    for cut in range(len(audio)):
        found = map_.codes(audio[:cut])
        assert np.array_equal(found, codes[:, : found.shape[1]])
        assert pattern not in ("flatten", "interleaved") or found.shape[1] == cut // n_q


def test_a_folder_that_was_made_again_is_read_again(out: str, tmp_path: Path) -> None:
    """In one process, with other ids: the first layout was still taken for it."""
    datasets = pytest.importorskip("datasets")
    new = tmp_path / "new"
    for pattern in ("flatten", "delay", "coarse-first"):
        shutil.rmtree(new, ignore_errors=True)
        cs.export_codes(out, str(new), to="arrow", pattern=pattern, quiet=True)
        document = datasets.load_from_disk(str(new))["train"][0]
        wanted = cs.CodesDataset(out).by_id(document["id"]).codes
        assert np.array_equal(cs.codes_from_tokens(document["input_ids"], new).codes, wanted)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_token_where_it_cannot_be_is_refused(pattern: str) -> None:
    map_ = TokenMap(pattern, 2, 16, text_size=9, repeats=repeats_for(pattern, 2))
    ids = map_.document(np.zeros((2, 4), np.uint16))
    for wrong in (3, map_.specials["pad"], map_.first_code + 20, map_.first_code):
        broken = ids.copy()
        at = -3 if wrong == map_.first_code else 2 + 2 * (pattern == "delay")
        broken[at] = wrong
        with pytest.raises(ShapeError):
            map_.codes(broken)
    with pytest.raises(ShapeError, match="outside of the vocabulary"):
        map_.codes(np.array([map_.size]))
    with pytest.raises(UsageError):
        cs.codes_from_tokens(ids, {"vocabulary": {}})


def test_an_export_of_levels_at_different_rates_has_orpheus_order() -> None:
    """The ids of a frame's seven places follow each other, 4,096 apart."""
    spec = replace(describe_mulaw(), n_q=7, codebook_size=4096, level_repeats=(1, 2, 4))
    map_ = TokenMap.of("interleaved", spec, 7)
    codes = np.arange(14, dtype=np.uint16).reshape(7, 2)
    ids = map_.document(codes)[2:-2] - map_.first_code
    assert (ids // 4096).tolist() == [*range(7)] * 2
    assert (ids % 4096)[:7].tolist() == [0, 2, 6, 8, 4, 10, 12]
    assert np.array_equal(map_.codes(map_.document(codes)), codes)
    for n_q, repeats in ((3, (1, 2)), (1, (1,))):
        assert TokenMap.of("interleaved", spec, n_q).repeats == repeats
    for pattern in ("interleaved", "flatten"):
        with pytest.raises(UsageError, match=r"4 codebooks: .*so give one of 1, 3, 7"):
            TokenMap.of(pattern, spec, 4)
    with pytest.raises(UsageError, match="levels run at different rates"):
        TokenMap.of("interleaved", describe_mulaw(), 4)
    assert TokenMap.of("delay", spec, 7).repeats is None
