"""Where a corpus has official splits the output has them, however it was made and has grown."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import soundfile
import sounds
import yaml

from codecshards import CodesDataset, filter_codes
from pipelines.loader.in_order import InOrder
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.manifest.commits import Manifest
from pipelines.output.plan import make_plan
from pipelines.output.plans.placing import MOST_SPLITS
from pipelines.output.plans.rows import GROUP
from pipelines.output.storage import LocalStorage
from pipelines.output.verify import verify
from pipelines.planning.dry_run import plan
from pipelines.run import tokenize_corpus
from tokenizer.errors import UsageError
from tokenizer.types import Recording

SMALL = 0.25 / 3600
"""hours of a shard: a recording"""
SPEAKERS = {"train-clean-100": ("19", 3), "dev-clean": ("84", 2), "test-other": ("61", 1)}


def sound(path: Path, seed: int = 0) -> None:
    """0.2 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = sounds.sound(3_200, 1, 16_000, seed)
    soundfile.write(path, wave.samples[0], wave.sample_rate)


def librispeech(root: Path, *splits: str, first: int = 0) -> None:
    for split in splits:
        speaker, count = SPEAKERS[split]
        home = root / split / speaker / f"{first}"
        for n in range(count):
            sound(home / f"{speaker}-{first}-{n:04d}.flac", n)
        lines = [f"{speaker}-{first}-{n:04d} WORDS {n}\n" for n in range(count)]
        (home / f"{speaker}-{first}.trans.txt").write_text("".join(lines))


def run(source: Path, out: Path, shard_hours: float = SMALL, **said: Any) -> None:
    names = ("append", "part", "retry_failed")
    options = RunOptions(workers=0, quiet=True, **{n: said.pop(n) for n in names if n in said})
    config = TokenizeConfig(
        str(source), codec="mulaw", bandwidth=24.0, shard_hours=shard_hours, **said
    )
    tokenize_corpus(config, str(out), options)


def files(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "data").iterdir())


def by_split(out: Path) -> dict[str, list[str]]:
    """Ids by what the files are called, as pyarrow reads them."""
    found: dict[str, list[str]] = {}
    for name in files(out):
        ids = pq.read_table(out / "data" / name)["id"].to_pylist()
        found.setdefault(name.rsplit("-", 3)[0], []).extend(ids)
    return found


def listed(root: Path) -> dict[str, list[str]]:
    """Ids by the folders that they are in."""
    found: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.flac")):
        split = path.relative_to(root).parts[0]
        found.setdefault(split.replace("-", "_"), []).append(str(path.relative_to(root)))
    return found


def test_shards_are_those_of_the_splits_for_every_reader(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    librispeech(corpus, *SPEAKERS)
    run(corpus, out)
    assert files(out) == [
        *(f"dev_clean-0000{n}-of-00002.parquet" for n in range(2)),
        "test_other-00000-of-00001.parquet",
        *(f"train_clean_100-0000{n}-of-00003.parquet" for n in range(3)),
    ]
    assert by_split(out) == listed(corpus)
    for split, ids in listed(corpus).items():
        assert len(CodesDataset(str(out), split=split)) == len(ids)
    assert len(CodesDataset(str(out), split="dev-clean")) == 2
    with pytest.raises(UsageError, match="several splits"):
        CodesDataset(str(out))
    with pytest.raises(UsageError, match="no split 'dev'"):
        CodesDataset(str(out), split="dev")
    assert verify(str(out)) == []
    hub = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: sorted(hub[split]["id"]) for split in hub} == listed(corpus)
    config = TokenizeConfig(str(corpus), codec="mulaw", bandwidth=24.0, shard_hours=SMALL)
    assert plan(config, quiet=True).survey.shards == 6
    before = files(out)
    run(corpus, out)
    run(corpus, out, append=True)
    assert files(out) == before
    with pytest.raises(UsageError, match=r"config\.split: None there, 'train' now"):
        run(corpus, out, split="train")
    filter_codes(str(out), str(tmp_path / "new"), where="meta->>'split' = 'dev-clean'")
    assert by_split(tmp_path / "new") == {"dev_clean": listed(corpus)["dev_clean"]}


def test_a_split_that_is_said_is_that_of_all(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    librispeech(corpus, *SPEAKERS)
    run(corpus, out, 1.0, split="all_of_it", format="webdataset")
    assert files(out) == ["all_of_it-000000.tar"]
    run(corpus, tmp_path / "dev", 1.0, layout_split="dev-clean", format="webdataset")
    assert files(tmp_path / "dev") == ["dev_clean-000000.tar"]
    assert len(CodesDataset(str(tmp_path / "dev"))) == 2
    librispeech(corpus, "dev-clean", first=7)
    run(corpus, out, 1.0, append=True, format="webdataset")
    assert files(out) == ["all_of_it-000000.tar", "all_of_it-000001.tar"]


def test_a_folder_from_before_there_were_splits_goes_on_in_its_own(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    librispeech(corpus, "dev-clean")
    run(corpus, out, split="train")  # which was the default, and is what such a folder says
    names = files(out)
    run(corpus, out)
    assert files(out) == names
    librispeech(corpus, "test-other")
    run(corpus, out, append=True)
    assert files(out) == [*names, "train-00002-of-00003.parquet"]


def test_a_corpus_without_splits_stays_in_train(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    sound(corpus / "one.wav")
    run(corpus, out)
    librispeech(corpus, "dev-clean")
    run(corpus, out, append=True)
    assert by_split(out).keys() == {"train"} and len(by_split(out)["train"]) == 3
    stored = Manifest(LocalStorage(str(out))).require_config()
    assert stored.config.split == "train"


def test_splits_grow_apart_and_in_parts(tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    librispeech(corpus, "train-clean-100", "dev-clean")
    run(corpus, out, part="2/2")
    run(corpus, out, part="1/2")
    librispeech(corpus, "dev-clean", "test-other", first=7)
    damaged = corpus / "dev-clean" / "84" / "7" / "84-7-0000.flac"
    content = damaged.read_bytes()
    damaged.write_bytes(b"nothing")
    run(corpus, out, part="1/2", append=True)
    run(corpus, out, part="2/2", append=True)
    damaged.write_bytes(content)
    run(corpus, out, retry_failed=())
    assert files(out) == [
        *(f"dev_clean-0000{n}-of-00002.parquet" for n in range(2)),
        "dev_clean-00002-of-00003.parquet",
        "dev_clean-00003-of-00004.parquet",
        "test_other-00000-of-00001.parquet",
        *(f"train_clean_100-0000{n}-of-00003.parquet" for n in range(3)),
    ]
    found = {split: sorted(ids) for split, ids in by_split(out).items()}
    assert found == listed(corpus)
    assert verify(str(out)) == []
    for split, ids in listed(corpus).items():
        assert len(CodesDataset(str(out), split=split)) == len(ids)
    assert Counter(split for split, _ in InOrder(str(out))) == Counter(
        {split: len(ids) for split, ids in listed(corpus).items()}
    )
    front = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    named = {one["split"] for one in front["configs"][0]["data_files"]}
    assert named == {"train_clean_100", "dev_clean", "test_other"}


def test_a_table_may_name_them_row_by_row(tmp_path: Path) -> None:
    """Mixed, and with rows that are none: these stand where the list has them."""
    said = [None, "test", "train", "test", "", "dev-set", "train", "../x", 3, "test"]
    rows = [{"path": "gone.wav"}]
    for n, split in enumerate(said):
        sound(tmp_path / f"{n}.wav", n)
        rows.append({"path": f"{n}.wav", "split": split})
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(tmp_path / "list.jsonl", tmp_path / "out", 1.0)
    assert {split: [i.removesuffix(".wav") for i in ids] for split, ids in by_split(
        tmp_path / "out"
    ).items()} == {
        "unsplit": ["0", "4", "8"],
        "test": ["1", "3", "9"],
        "train": ["2", "6"],
        "dev_set": ["5"],
        "x": ["7"],
    }  # fmt: skip


@pytest.mark.parametrize("hours", [0.004, 0.5, 100.0])
def test_a_mixed_plan_has_its_splits_in_order(hours: float) -> None:
    splits = [f"s{n * n % 7 % 4}" for n in range(2 * GROUP + 99)]
    mixed = [Recording(f"{n}", "u", seconds=3.0, meta={"split": s}) for n, s in enumerate(splits)]
    bad = Recording("bad", "u", {"rejected": ["NOT_FOUND", "gone"]}, seconds=3.0)
    found = make_plan([bad, *mixed], shard_hours=hours, split=None)
    order = list(dict.fromkeys(splits))
    wanted = ["bad"] + [f"{n}" for one in order for n, split in enumerate(splits) if split == one]
    assert list(found.ids()) == wanted
    for (split, count), name in zip(found.splits, order, strict=True):
        assert split == name and count == sum(s.name.startswith(f"{name}-") for s in found.shards)
    for shard in found.shards:
        held = shard.recordings
        assert {one.meta.get("split") for one in held} - {None} == {shard.name.split("-")[0]}
        assert shard.seconds <= hours * 3600 + 1e-6
    # The same recordings, one split after the other, give the same plan.
    ordered = sorted(mixed, key=lambda one: order.index(one.meta["split"]))
    assert make_plan([bad, *ordered], shard_hours=hours, split=None).to_bytes() == found.to_bytes()


def test_a_column_with_a_name_for_every_row_makes_no_splits() -> None:
    many = [Recording(f"{n}", "u", meta={"split": f"s{n}"}) for n in range(MOST_SPLITS + 1)]
    found = make_plan(many, shard_hours=1.0, split=None, notes=lambda: ["said"])
    assert (found.split, found.splits, len(found.shards)) == ("train", (), 1)
    assert list(found.ids()) == [one.id for one in many] and found.notes == ("said",)
