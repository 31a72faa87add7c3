"""Planted damage: each kind is found, and named in a line of its own."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpora import write_corpus
from rich.console import Console

from pipelines.cli.main import main
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.formats import shard_format
from pipelines.output.inspect import inspect, render
from pipelines.output.manifest.commits import CommitRecord, Failure, Manifest, pack_counts
from pipelines.output.storage import open_storage
from pipelines.output.verify import Problem, _unfinished, verify
from pipelines.run import tokenize_corpus
from tokenizer import OutputError, ShardError
from tokenizer.errors import ManifestError, UsageError
from tokenizer.sealing import seal, unseal

HERE = RunOptions(workers=0, quiet=True)


@pytest.fixture(scope="module", params=["parquet", "webdataset"])
def pristine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    corpus = write_corpus(root / "corpus", 10)
    config = TokenizeConfig(str(corpus), codec="mulaw", shard_hours=0.002, format=request.param)
    tokenize_corpus(config, str(root / "out"), HERE)
    return root / "out"


@pytest.fixture
def out(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "out"))


def shards(out: Path) -> list[Path]:
    return sorted((out / "data").iterdir())


def record(out: Path, number: int = 0) -> Path:
    return sorted((out / "manifest" / "commits").iterdir())[number]


def edit(path: Path, **values: object) -> None:
    """As somebody would who knows of the checksum, so that what it says is looked at, too."""
    path.write_bytes(seal({**unseal(path.read_bytes()), **values}))


def flip(out: Path) -> None:
    content = bytearray(shards(out)[0].read_bytes())
    content[len(content) // 3] ^= 4
    shards(out)[0].write_bytes(content)


def truncate(out: Path) -> None:
    shards(out)[0].write_bytes(shards(out)[0].read_bytes()[:-100])


def swap(out: Path) -> None:
    one, other = shards(out)[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def rewrite(out: Path, change: Callable[[list], list]) -> None:
    """Replace a shard by another that is sound in itself, and fit its record's hash to it."""
    path = shards(out)[0]
    form = shard_format("parquet" if path.suffix == ".parquet" else "webdataset")
    with path.open("rb") as file:
        rows, footer = (
            list(form.read(file, "s")),
            form.footer(file, "s") if not file.seek(0) else {},
        )
    form.write(str(path), change(rows), footer)
    import hashlib

    edit(
        record(out), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size
    )


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flip": (flip, "SHA-256 differs"),
    "truncation": (truncate, "bytes, "),
    "deleted shard": (lambda out: shards(out)[0].unlink(), "its file is missing"),
    "deleted record": (lambda out: record(out).unlink(), "not committed"),
    "damaged record": (lambda out: record(out).write_text("{"), "not a commit record"),
    "stranger": (
        lambda out: (out / "data" / f"train-9{shards(out)[0].suffix}").write_bytes(b"x"),
        "somebody else",
    ),
    "swapped shards": (swap, "was not planned for this shard"),
    "row dropped": (
        lambda out: rewrite(out, lambda rows: rows[1:]),
        "neither a row nor a recorded failure",
    ),
    "row doubled": (
        lambda out: rewrite(out, lambda rows: [*rows, rows[0]]),
        "2 times among rows and failures",
    ),
    "rows reordered": (
        lambda out: rewrite(out, lambda rows: rows[::-1]),
        "not in the plan's order",
    ),
    "edited record": (lambda out: edit(record(out), frames=1), "1 were committed"),
    "another configuration": (
        lambda out: edit(record(out), fingerprint="x"),
        "another configuration",
    ),
    "another footer": (lambda out: edit(record(out), footer={}), "footer"),
    "lost failures": (
        lambda out: [edit(path, failures=[]) for path in (out / "manifest" / "commits").iterdir()],
        "neither a row",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_named(out: Path, kind: str) -> None:
    plant, words = DAMAGE[kind]
    assert verify(str(out)) == []
    if kind == "row dropped" or kind == "rows reordered":
        assert json.loads(record(out).read_text())["rows"] > 1
    plant(out)
    problems = [str(problem) for problem in verify(str(out))]
    assert any(words in problem for problem in problems), problems
    assert all("\n" not in problem and problem.startswith("train-") for problem in problems)


@pytest.mark.parametrize(
    "values",
    [
        {"frames": None},
        {"num_samples": {}},
        {"bytes": "x"},
        {"footer": None},
        {"quality": -1},
        {"flags": []},
        {"codebook_counts": 3},
        {"sha256": 0},
        {"failures": [{"id": None}]},
        {"failures": None},
    ],
    ids=str,
)
def test_a_record_with_values_of_other_kinds_is_damaged(
    out: Path, values: dict[str, object]
) -> None:
    """With a checksum that is right, as of another version or of somebody who edits."""
    edit(record(out), **values)
    assert any("not a commit record" in str(problem) for problem in verify(str(out)))
    with pytest.raises(ShardError, match="not a commit record"):
        inspect(str(out))


@pytest.mark.parametrize("where", ["record", "failure"])
def test_a_newer_version_s_record_is_no_damage_to_heal(out: Path, where: str) -> None:
    """Its shard would be done again, and what it says more be lost."""
    lost = {"id": "x", "source_uri": "x", "kind": "empty", "message": "", "stage": "", "more": 1}
    edit(record(out), **({"more": 1} if where == "record" else {"failures": [lost]}))
    before = record(out).read_bytes()
    with pytest.raises(ManifestError, match="newer codecshards, with more"):
        inspect(str(out))
    with pytest.raises(ManifestError, match="newer codecshards, with more"):
        Manifest(open_storage(str(out))).settle(shard_format("parquet"))
    assert record(out).read_bytes() == before


def test_a_configuration_of_a_newer_version_is_named(out: Path) -> None:
    place = out / "manifest" / "config.json"
    plan = unseal(place.read_bytes())["plan"]
    edit(place, plan={**plan, "more": 1})
    with pytest.raises(ManifestError, match=r"config\.json: of another version"):
        inspect(str(out))


def test_what_is_wrong_with_an_id_of_several_lines_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Problem("train-00000-of-00001", "a\nb\x1b[2J: text is not the planned one")]
    monkeypatch.setattr("pipelines.output.verify.verify", lambda out: found)
    assert main(["verify", "out"]) == 1
    wanted = "train-00000-of-00001: a\\nb\\x1b[2J: text is not the planned one\n"
    assert capsys.readouterr().out == wanted


def test_many_missing_shards_are_counted_and_a_few_named() -> None:
    names = [f"train-{number:05d}-of-01000" for number in range(1000)]
    assert [str(one).split(":")[0] for one in _unfinished(names[:5], 1000)] == names[:5]
    found = [str(one) for one in _unfinished(names[10:], 1000)]
    assert len(found) == 6 and found[0].startswith(names[10])
    assert found[-1] == "985 more: not committed: 990 of 1,000 shards in all"


def test_an_unfinished_output_says_how_to_go_on(out: Path) -> None:
    record(out).unlink()
    summary = inspect(str(out))
    assert not summary.complete and summary.shards == summary.shards_planned - 1
    assert "run the same command again" in str(verify(str(out))[0])


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        for command in (inspect, verify):
            with pytest.raises(OutputError, match="not an output of"):
                command(str(place))


def test_the_json_is_what_is_documented(out: Path) -> None:
    values = json.loads(json.dumps(inspect(str(out)).to_json()))
    assert values["complete"] and values["recordings"] == {
        "planned": 11,
        "tokenized": 10,
        "failed": 1,
        "filtered": 0,
        "dropped": 0,
    }
    (failure,) = values["failures"]
    assert list(failure) == ["id", "source_uri", "kind", "message", "stage"]
    assert failure["id"] == "broken.wav" and values["failure_kinds"] == {"truncated": 1}
    assert len(values["codebooks"]) == 4 and values["codec"]["codec"] == "mulaw"


def test_the_page_for_people_says_it_all(out: Path) -> None:
    sink = io.StringIO()
    render(inspect(str(out)), failures=True, console=Console(file=sink, width=200))
    text = sink.getvalue()
    for words in (
        "mulaw",
        "10 of 11, 1 failed",
        "truncated",
        "broken.wav",
        "perplexity",
        "complete",
    ):
        assert words in text


def test_every_failure_is_a_line_with_its_id(out: Path) -> None:
    """Also where the id stands in the message by chance."""
    summary = inspect(str(out))
    kinds = [("7", "7 packets"), ("a\nb", "why\tnot"), ("x.wav", "/c/x.wav: no audio")]
    failures = [Failure(id, "/c/x.wav", "damaged", said, "decode") for id, said in kinds]
    sink = io.StringIO()
    console = Console(file=sink, width=200)
    render(replace(summary, failures=failures), failures=True, console=console)
    lines = [line.strip() for line in sink.getvalue().splitlines() if "damaged (decode)" in line]
    assert lines == [
        "damaged (decode)  7: 7 packets",
        "damaged (decode)  a\\nb: why\\tnot",
        "damaged (decode)  /c/x.wav: no audio",
    ]


def test_where_the_time_went_is_told_and_adds_up(out: Path) -> None:
    summary = inspect(str(out))
    parts = [summary.timings[name] for name in ("decode_wait", "encode_wait", "write")]
    assert (
        all(part >= 0 for part in parts)
        and summary.timings["decode_wait"] > 0
        and summary.timings["write"] > 0
    )
    assert sum(parts) <= summary.timings["wall"] + 0.01
    console = Console(record=True, width=200)
    render(summary, console=console)
    shown = console.export_text()
    assert "waiting for decode" in shown and "writing" in shown and "decoders busy" in shown
    assert summary.timings["decode"] > 0 and summary.timings["encode"] > 0


STRANGERS: dict[str, tuple[str, str]] = {
    "manifest/commits/train-00000-of-00004 (copy).json": ("no commit record of this plan", "COPY"),
    "manifest/staging/train-00000-of-00004.0123456789ab." + "0" * 32 + ".parquet": (
        "left over by a run",
        "",
    ),
    "manifest/staging/x": ("no staged file of a run", ""),
    "manifest/old/config.json": ("no file of a manifest", ""),
    "manifest/runs/0123456789ab.json": ("says of no run", ""),
    "data/sub/train-00000-of-00004.parquet": ("somebody else", ""),
    "data/.half.tmp": ("somebody else", ""),
}


@pytest.mark.parametrize("place", STRANGERS)
def test_strangers_of_every_kind_are_named(out: Path, place: str) -> None:
    words, content = STRANGERS[place]
    before = inspect(str(out)).recordings
    (out / place).parent.mkdir(parents=True, exist_ok=True)
    (out / place).write_bytes(record(out).read_bytes() if content else b"x")
    problems = [str(problem) for problem in verify(str(out))]
    assert len(problems) == 1 and words in problems[0] and Path(place).name in problems[0]
    assert inspect(str(out)).recordings == before


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "flags": (lambda out: edit(record(out), flags={"silent": 1}), "flag silent"),
    "counts": (
        lambda out: edit(record(out), codebook_counts=pack_counts(np.ones((4, 1024), np.int64))),
        "occur",
    ),
    "no counts": (lambda out: edit(record(out), codebook_counts=None), "how often"),
    "garbled counts": (lambda out: edit(record(out), codebook_counts="4:x"), "cannot be read"),
    "format": (lambda out: edit(record(out), format="csv"), "says csv"),
    "another shard's staged file": (
        lambda out: edit(record(out), staged=said(record(out, 1))["staged"]),
        "staged file, which is none of it",
    ),
    "no staged file's name": (lambda out: edit(record(out), staged=""), "none of it"),
    "no timings": (lambda out: edit(record(out), timings={}), "timings"),
    "one timing less": (
        lambda out: edit(record(out), timings=without(said(record(out))["timings"], "write")),
        "timings",
    ),
    "a timing below zero": (
        lambda out: edit(record(out), timings={**said(record(out))["timings"], "wall": -1.0}),
        "timings",
    ),
    "an edit of no column": (lambda out: edit(record(out), edited=["id"]), "cannot be"),
    "no kind of failure": (lambda out: refail(out, kind="odd"), "'odd' is no kind"),
    "no failure's message": (lambda out: refail(out, message=""), "does not say what is wrong"),
    "another failure's source": (
        lambda out: refail(out, source_uri="x"),
        "source_uri of its failure",
    ),
    "scales that are none": (lambda out: edit(record(out), scales=[3, 1.0]), "no spread"),
    "quality that is none": (lambda out: edit(record(out), quality={"x": [1, 2]}), "no spread"),
    "configuration": (lambda out: edit_text(out / "manifest" / "config.json"), "checksum"),
    "plan": (lambda out: edit_plan(out), "not the plan"),
}


def said(path: Path) -> dict:
    return unseal(path.read_bytes())


def without(values: dict, name: str) -> dict:
    return {key: value for key, value in values.items() if key != name}


def failing(out: Path) -> Path:
    """The record with a failure."""
    (found,) = [path for path in (out / "manifest" / "commits").iterdir() if said(path)["failures"]]
    return found


def refail(out: Path, **values: object) -> None:
    path = failing(out)
    (failure,) = said(path)["failures"]
    edit(path, failures=[{**failure, **values}])


OF_LATER = ("scales", "groups", "quality", "edited")
"""what records did not always have"""


@pytest.mark.parametrize("name", sorted({*CommitRecord.__dataclass_fields__} - {*OF_LATER}))
def test_a_record_that_lacks_something_is_told(out: Path, name: str) -> None:
    record(out).write_bytes(seal(without(said(record(out)), name)))
    assert any("not a commit record" in str(problem) for problem in verify(str(out)))


def test_a_shard_without_rows_has_nothing_to_say_of_them(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for number in range(2):
        (tmp_path / "corpus" / f"{number}.wav").write_bytes(b"no audio")
    config = TokenizeConfig(str(tmp_path / "corpus"), codec="mulaw")
    out = tmp_path / "out"
    with suppress(UsageError):
        tokenize_corpus(config, str(out), HERE)
    assert verify(str(out)) == []
    whole = record(out).read_bytes()
    footer = said(record(out))["footer"]
    edit(record(out), footer={**footer, "codec": {"codec": "dac"}})
    assert any("another codec" in str(problem) for problem in verify(str(out)))
    edit(record(out), footer={})
    assert any("another codec" in str(problem) for problem in verify(str(out)))
    record(out).write_bytes(whole)
    for values in (
        {
            "staged": "manifest/staging/"
            + "train-00000-of-00001.0123456789ab."
            + 32 * "0"
            + ".parquet"
        },
        {"codebook_counts": pack_counts(np.ones((4, 1024), np.int64))},
        {"scales": [1, *[1.0] * 21]},
        {"groups": [2]},
        {"rows": 1},
    ):
        edit(record(out), **values)
        assert any("there is no file" in str(problem) for problem in verify(str(out))), values
        record(out).write_bytes(whole)


def edit_text(path: Path) -> None:
    path.write_text(path.read_text().replace("6.0", "7.0", 1))


def edit_plan(out: Path) -> None:
    path = out / "manifest" / "plan.parquet"
    table = pq.read_table(path)
    ids = ["other", *table["id"].to_pylist()[1:]]
    pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", [ids]), path)


@pytest.mark.parametrize("kind", EDITS)
def test_edits_of_the_manifest_are_found(out: Path, kind: str) -> None:
    plant, words = EDITS[kind]
    plant(out)
    problems = [str(problem) for problem in verify(str(out))]
    assert any(words in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_deleting_a_record_as_verify_advises_heals_a_damaged_shard(
    pristine: Path, out: Path
) -> None:
    flip(out)
    problems = [str(problem) for problem in verify(str(out))]
    (advice,) = [problem for problem in problems if "to heal it, delete" in problem]
    (out / advice.split("delete ")[1].split(" and run")[0]).unlink()
    stored = unseal((out / "manifest" / "config.json").read_bytes())["config"]
    tokenize_corpus(TokenizeConfig.from_dict(stored), str(out), HERE)
    assert verify(str(out)) == []
    assert [path.read_bytes() for path in shards(out)] == [
        path.read_bytes() for path in shards(pristine)
    ]


def test_a_folder_from_before_checksums_is_refused_in_one_line(out: Path) -> None:
    path = out / "manifest" / "config.json"
    values = unseal(path.read_bytes())
    del values["plan"]
    path.write_text(json.dumps(values, indent=1))
    with pytest.raises(OutputError, match="without checksums") as caught:
        inspect(str(out))
    assert "\n" not in str(caught.value) and "without checksums" in str(verify(str(out))[0])
