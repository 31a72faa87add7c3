"""Pushing to a stand-in of the Hub: what arrives is what was tokenized, without paths of this
machine."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from corpora import write_corpus
from datasets import load_dataset
from hub import TOKEN, Hub, stand_in
from published import in_both_formats, instead_of_the_hub
from stored_rows import by_id

from codecshards import compress_codes
from pipelines import adopt_codes, drop_codes, push_codes
from pipelines.cli.main import main
from pipelines.loader.dataset import CodesDataset
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.edited_card import BEGIN, END, updated
from pipelines.output.formats.coded.file import CodedFile
from pipelines.output.formats.parquet.writer import ParquetFormat
from pipelines.output.manifest.commits import Manifest
from pipelines.publishing.anonymous import Anonymous
from pipelines.run import tokenize_corpus
from tokenizer.errors import OutputError, ShardError, UsageError

NAME = "someone/codes"
HERE = RunOptions(workers=0, quiet=True)


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with stand_in() as hub, instead_of_the_hub(hub, monkeypatch, tmp_path / "cache"):
        yield hub


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One output in each format."""
    return in_both_formats(tmp_path_factory.mktemp("made"), "secret-place/speech", broken=True)


@pytest.fixture
def out(made: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made["parquet"], tmp_path / "out"))


def checkout(hub: Hub, folder: Path) -> Path:
    """What someone has who clones the data set."""
    for name, content in hub.files[NAME].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def front(hub: Hub) -> dict[str, Any]:
    card = hub.files[NAME]["README.md"].decode()
    values: dict[str, Any] = yaml.safe_load(card.split("---")[1])
    return values


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_what_arrives_are_the_rows_without_paths_of_this_machine(
    made: dict[str, Path], form: str, hub: Hub, tmp_path: Path
) -> None:
    out = made[form]
    done = push_codes(str(out), NAME, license="cc-by-4.0", quiet=True)
    assert done.left_out == []
    shards = sorted(path.name for path in (out / "data").iterdir())
    assert len(shards) > 2 and done.sent == len(shards) + 1 and done.there == 0
    assert hub.commits[-1] == ("Update the card", ["README.md"], [])
    there = checkout(hub, tmp_path / "clone")
    # The one whose only recording failed has no file here, and an empty one there.
    sent = sorted(path.name for path in (there / "data").iterdir())
    assert set(shards) < set(sent) and len(sent) == len(shards) + 1
    for path in there.rglob("*"):
        if path.is_file():
            assert b"secret-place" not in path.read_bytes() and str(tmp_path) not in path.name
    before, after = CodesDataset(str(out)), CodesDataset(str(there))
    fields = ("text", "scales", "source_uri")
    assert [one.id for one in after] == [one.id for one in before]
    for number in range(len(before)):
        one, other = (rows.read(number, None, fields) for rows in (after, before))
        assert np.array_equal(one.codes, other.codes) and np.array_equal(one.scales, other.scales)
        assert one.fields["text"] == other.fields["text"]
        place = one.fields["source_uri"]
        assert other.fields["source_uri"].endswith(f"/secret-place/speech/{place}")


def test_a_second_push_reads_no_shard_again(
    out: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is new: what the others became is remembered, by their contents."""
    push_codes(str(out), NAME, quiet=True)
    card, before = hub.files[NAME]["README.md"], dict(hub.files[NAME])
    written: list[str] = []
    write = ParquetFormat.write

    def counted(self: ParquetFormat, path: str, *given: Any) -> None:
        written.append(path)
        write(self, path, *given)

    monkeypatch.setattr(ParquetFormat, "write", counted)
    again = push_codes(str(out), NAME, quiet=True)
    assert (again.sent, again.there) == (0, len(before) - 2) and hub.files[NAME] == before
    empty = len(list((out / "manifest/commits").iterdir())) - len(list((out / "data").iterdir()))
    assert len(written) == empty == 1, "only the shard without a row"
    # What is not there, or other, is sent whatever was remembered.
    first, second, *_ = sorted(name for name in hub.files[NAME] if name.startswith("data/"))
    del hub.files[NAME][first]
    hub.files[NAME][second] = b"other"
    assert push_codes(str(out), NAME, quiet=True).sent == 2 and hub.files[NAME] == before
    # Other paths, other bytes.
    assert push_codes(str(out), NAME, whole_uris=True, quiet=True).sent > 2
    shutil.rmtree(tmp_path / "cache")
    assert push_codes(str(out), NAME, quiet=True).sent > 2 and hub.files[NAME] == before
    assert hub.files[NAME]["README.md"] == card


def test_what_an_edit_took_out_is_not_published_though_it_was_cut_short(
    out: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed, and its new files wait under the names they were staged by."""
    ids = list(by_id(out))
    with monkeypatch.context() as killed:
        killed.setattr(Manifest, "carry_out_edit", end_here)
        with pytest.raises(KeyboardInterrupt):
            drop_codes(str(out), [ids[0]], reason="withdrawn")
    push_codes(str(out), NAME, quiet=True)
    assert set(by_id(checkout(hub, tmp_path / "clone"))) == set(ids[1:])
    drop_codes(str(out), [ids[1]])  # finishes the one before
    push_codes(str(out), NAME, quiet=True)
    assert set(by_id(checkout(hub, tmp_path / "clone"))) == set(ids[2:])


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_damage_is_not_published(
    made: dict[str, Path], form: str, hub: Hub, tmp_path: Path
) -> None:
    """Also where the file is whole in itself, as a tar is with another letter in a text."""
    out = Path(shutil.copytree(made[form], tmp_path / form))
    shard = next(path for path in sorted(out.glob("data/*")) if b"Text" in path.read_bytes())
    before = shard.read_bytes()
    shard.write_bytes(before.replace(b"Text", b"Test", 1))
    with pytest.raises(ShardError, match=rf"{shard.name}: damaged: .*codecshards verify"):
        push_codes(str(out), NAME, quiet=True)
    assert f"data/{shard.name}" not in hub.files[NAME]
    shard.write_bytes(before)
    push_codes(str(out), NAME, quiet=True)
    assert by_id(checkout(hub, tmp_path / "clone")).keys() == by_id(out).keys()
    assert b"Text" in hub.files[NAME][f"data/{shard.name}"]


def test_what_was_adopted_without_a_footer_gets_one(
    made: dict[str, Path], hub: Hub, tmp_path: Path
) -> None:
    """As files have it that DuckDB or pandas have written: codes and columns of quality arrive."""
    out = tmp_path / "written anew"
    out.mkdir()
    table = load_dataset(str(made["parquet"]), split="train", cache_dir=str(tmp_path / "cache"))
    table = table.add_column("snr", np.full(len(table), 7, np.float32))
    table.add_column("grade", ["good"] * len(table)).to_parquet(out / "x.parquet")
    adopt_codes(str(out), like=str(made["parquet"]))
    assert push_codes(str(out), NAME, quiet=True).left_out == ["grade"]
    clone = checkout(hub, tmp_path / "clone")
    assert by_id(clone).keys() == by_id(made["parquet"]).keys()
    codes = CodesDataset(clone)
    assert codes.spec.weights_sha256 == CodesDataset(made["parquet"]).spec.weights_sha256
    assert codes.measures == ("snr",)


def end_here(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_an_archive_is_pushed_as_one(
    made: dict[str, Path], hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its coder, and a card that does not say that others read it; what a clone has is
    readable, and the way back to Parquet is what the card says."""
    out, back = tmp_path / "archive", tmp_path / "back"
    compress_codes(str(made["parquet"]), str(out), workers=0)
    capsys.readouterr()
    assert main(["push", str(out), NAME, "--quiet"]) == 0
    said = capsys.readouterr()
    assert "sent 1 shard" in said.out and "is an archive: CodesDataset reads it" in said.err
    (path,) = (one for one in hub.files[NAME] if one.startswith("data/"))
    clone = checkout(hub, tmp_path / "clone")
    with (out / path).open("rb") as mine, (clone / path).open("rb") as theirs:
        assert CodedFile(mine).head["coder"] == CodedFile(theirs).head["coder"]
    assert b"secret-place" not in b"".join(hub.files[NAME].values())
    assert "configs" not in front(hub) and "dataset_info" not in front(hub)
    card = (clone / "README.md").read_text()
    assert "load_dataset` cannot read it" in card and "load_dataset(" not in card
    wanted = by_id(made["parquet"])
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    with contextlib.chdir(clone):
        names: dict[str, Any] = {}
        exec(snippet, names)
        assert {row.id for row in names["codes"]} == wanted.keys()
        assert main(["adopt", "."]) == 0 and main(["expand", ".", str(back), "--workers", "0"]) == 0
    for id, row in by_id(back).items():
        assert all(row[name] == wanted[id][name] for name in ("codes", "scales", "text"))
    assert main(["push", str(out), NAME, "--quiet"]) == 0
    assert "1 shard there already" in capsys.readouterr().out


def test_a_branch_is_made_and_pushed_to(out: Path, hub: Hub) -> None:
    push_codes(str(out), NAME, license="cc-by-4.0", quiet=True)
    main_files, arguments = dict(hub.files[NAME]), ["push", str(out), NAME, "--quiet"]
    gone = next(iter(CodesDataset(str(out)))).id
    drop_codes(str(out), [gone])
    for _ in range(2):
        assert main([*arguments, "--branch", "v2"]) == 0
    assert hub.files[NAME] == main_files, "main is as it was"
    there = hub.branches[NAME]["v2"]
    assert there.keys() == main_files.keys() and there != main_files
    one, other = (CodesDataset(f"hf://datasets/{NAME}{at}") for at in ("@v2", ""))
    assert gone not in {row.id for row in one} and gone in {row.id for row in other}
    assert len(one) == len(other) - 1


def test_the_card_says_what_is_there(out: Path, hub: Hub, tmp_path: Path) -> None:
    push_codes(str(out), NAME, license="cc-by-4.0", quiet=True)
    values, card = front(hub), hub.files[NAME]["README.md"].decode()
    rows = len(CodesDataset(str(out)))
    assert values["license"] == "cc-by-4.0" and values["size_categories"] == ["n<1K"]
    assert "| text | " in card and "could not be tokenized" in card and "manifest" not in card
    (files,) = values["configs"][0]["data_files"]
    assert files["split"] == "train"
    (split,) = values["dataset_info"]["splits"]
    shards = [c for n, c in hub.files[NAME].items() if n.startswith("data/")]
    assert split == {"name": "train", "num_bytes": sum(map(len, shards)), "num_examples": rows}
    there = checkout(hub, tmp_path / "clone")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_dataset(str(there), split="train", cache_dir=str(tmp_path / "read"))
    assert found.num_rows == rows


def test_a_push_that_was_stopped_is_gone_on_with(
    out: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.publishing.push._FILES", 1)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.fail_after = 2
    with pytest.raises(UsageError, match="run the same command again to go on"):
        push_codes(str(out), NAME, quiet=True)
    assert len(hub.commits) == 2 and "README.md" not in hub.files[NAME]
    hub.fail_after = None
    done = push_codes(str(out), NAME, quiet=True)
    shards = len(list((out / "manifest" / "commits").iterdir()))
    assert done.there == 2 and done.sent == shards - 2 and len(hub.puts) == shards
    commits = len(hub.commits)
    again = push_codes(str(out), NAME, quiet=True)
    assert (again.sent, again.there) == (0, shards) and len(hub.commits) == commits


def test_an_append_sends_what_is_new_and_the_card_counts_all(
    out: Path, hub: Hub, tmp_path: Path
) -> None:
    corpus = Path(shutil.copytree(out, tmp_path / "x")).parent / "corpus"
    write_corpus(corpus, 3, broken=False, longest=40_000)
    config = TokenizeConfig(str(corpus), codec="mulaw", shard_hours=0.0003)
    grown = str(tmp_path / "grown")
    tokenize_corpus(config, grown, HERE)
    push_codes(grown, NAME, quiet=True)
    before = {name: content for name, content in hub.files[NAME].items() if "data/" in name}
    for path in sorted(corpus.rglob("*.*"))[:2]:
        shutil.copy(path, path.with_name(f"new-{path.name}"))
    tokenize_corpus(config, grown, RunOptions(workers=0, quiet=True, append=True))
    done = push_codes(grown, NAME, quiet=True)
    assert done.there == len(before) and done.sent > 0
    assert before.items() <= hub.files[NAME].items()
    (split,) = front(hub)["dataset_info"]["splits"]
    assert split["num_examples"] == len(CodesDataset(grown))


def test_what_people_write_into_the_card_stays(out: Path, hub: Hub) -> None:
    push_codes(str(out), NAME, license="mit", quiet=True)
    card = hub.files[NAME]["README.md"].decode()
    card = card.replace("pretty_name: Audio codes", "pretty_name: My voices")
    card = card.replace("# Audio codes", "# My voices\n\nRecorded by me.") + "\n## Thanks\n"
    hub.files[NAME]["README.md"] = card.replace("kbps", "nonsense").encode()
    push_codes(str(out), NAME, quiet=True)
    assert hub.files[NAME]["README.md"].decode() == card
    assert front(hub)["license"] == "mit"
    push_codes(str(out), NAME, license="cc0-1.0", quiet=True)
    assert front(hub)["license"] == "cc0-1.0" and front(hub)["pretty_name"] == "My voices"


def test_cards_of_any_shape_take_in_the_new_one() -> None:
    new = f"---\nconfigs: [1]\ntags: [a]\n---\n\n# T\n\n{BEGIN}\nnew\n{END}\n"
    assert updated(None, new) == new
    foreign = updated("# Mine\n\nWords.\n", new)
    assert "# Mine\n\nWords.\n\n" + BEGIN in foreign and foreign.startswith("---\nconfigs:")
    odd = updated("---\n: : {\n---\nrest", new)
    assert "rest" in odd and BEGIN in odd
    own = updated("---\nconfigs: [0]\nx: 1\n---\n| written by | codecshards 0.0 |\n", new)
    assert "x: 1" in own and "codecshards 0.0" not in own and "- 0" not in own
    assert updated(foreign, new) == foreign and updated(own, new) == own


def test_shards_of_something_else_are_not_mixed_in(out: Path, hub: Hub) -> None:
    push_codes(str(out), NAME, quiet=True)
    stranger = "data/train-00077-of-00099.parquet"
    hub.files[NAME][stranger] = b"x"
    with pytest.raises(UsageError, match=r"1 shard .* does not have .*--remove-others"):
        push_codes(str(out), NAME, quiet=True)
    done = push_codes(str(out), NAME, remove_others=True, quiet=True)
    assert done.removed == [stranger] and stranger not in hub.files[NAME]


def test_mistakes_are_one_line(
    out: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main(["push", str(out), NAME]) == 2
    assert "hf auth login" in capsys.readouterr().err and not hub.commits
    assert main(["push", str(out), "no name at all"]) == 2
    assert "give USER/NAME" in capsys.readouterr().err
    with pytest.raises(OutputError, match="not an output"):
        push_codes(str(out / "data"), NAME, quiet=True)
    (commit, *_) = sorted((out / "manifest" / "commits").iterdir())
    commit.unlink()
    with pytest.raises(OutputError, match=r"1 of .* not there yet"):
        push_codes(str(out), NAME, quiet=True)


def test_a_hub_that_is_away_is_one_line(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", closed)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with pytest.raises(UsageError, match="cannot be reached"):
        push_codes(str(out), NAME, quiet=True)


def test_a_dry_run_asks_nobody_and_the_command_says_what_it_did(
    out: Path, hub: Hub, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "codecshards", "push", str(out), NAME]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
    }
    root = Path(__file__).resolve().parents[3]
    for more, said in ((["--dry-run"], "would send"), ([], "sent")):
        ended = subprocess.run(
            [*command, *more],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0 and said in ended.stdout, ended.stderr
        assert bool(hub.commits) == (not more)
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/data/corpus/a/b.wav", "a/b.wav"),
        ("file:///data/corpus/a b.wav", "a b.wav"),
        ("/data/corpus", "corpus"),
        ("/data/corpus-2/x.wav", "x.wav"),
        ("/lists/clips/x.wav", "clips/x.wav"),
        ("s3://bucket/in/x.tar/y.wav", "x.tar/y.wav"),
        ("https://me:secret@host/x.mp3?token=1", "https://host/x.mp3"),
        ("relative/x.wav", "relative/x.wav"),
    ],
)
def test_paths_become_relative_to_the_corpus(uri: str, expected: str) -> None:
    hide = Anonymous(["/data/corpus/", "/lists/train.jsonl", "s3://bucket/in"])
    assert hide.uri(uri) == expected
    assert hide.codec("/home/me/model") == "model" and hide.codec("a/b") == "a/b"


def test_shards_keep_their_bytes_but_for_paths(out: Path, hub: Hub) -> None:
    push_codes(str(out), NAME, whole_uris=True, quiet=True)
    for path in (out / "data").iterdir():
        assert hub.files[NAME][f"data/{path.name}"] == path.read_bytes()
