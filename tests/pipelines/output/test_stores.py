"""Corpora and outputs on a real S3 server that fails as object stores do: nothing is lost, and
every error is one line."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from botocore.exceptions import ClientError
from corpora import write_corpus
from s3 import Bucket, Fault, Request, forget_clients
from sounds import sound

from pipelines.cli.main import main
from pipelines.corpus.reader import Decoder, DecodeSettings
from pipelines.corpus.sources import open_source
from pipelines.corpus.sources.base import open_file
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.inspect import inspect
from pipelines.output.manifest.leases import Lease
from pipelines.output.storage import open_storage
from pipelines.output.verify import verify
from pipelines.run import tokenize_corpus
from pipelines.system.outages import judge
from pipelines.system.places import store_environment
from pipelines.system.remote import PATIENCE_VARIABLE, patience_seconds
from tokenizer.audio import read_audio
from tokenizer.errors import (
    FailureKind,
    OutputError,
    RecordingError,
    ShardError,
    SourceUnavailable,
    UsageError,
)

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = int(os.environ.get("CODECSHARDS_KILL_ROUNDS", "1"))
"""how often each kill test is repeated, at other moments each time"""
HERE = RunOptions(workers=0, quiet=True)


def config(source: str, **more: Any) -> TokenizeConfig:
    return TokenizeConfig(source=source, codec="mulaw", bandwidth=24.0, shard_hours=0.0004, **more)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(
        tmp_path_factory.mktemp("corpus") / "speech", 8, broken=False, longest=60_000
    )


@pytest.fixture(scope="module")
def expected(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Codes and transcript of each recording, from a run on local files."""
    out = tmp_path_factory.mktemp("expected") / "out"
    tokenize_corpus(config(str(corpus)), str(out), HERE)
    return rows(sorted((out / "data").glob("*.parquet")))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time between tries."""
    monkeypatch.setattr("pipelines.system.remote._PAUSES", (0.05, 0.5))


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how long stores are waited for, children included."""
    return lambda seconds: monkeypatch.setenv(PATIENCE_VARIABLE, str(seconds))


def rows(files: list[Any]) -> dict[str, Any]:
    tables = [pq.read_table(file, columns=["id", "codes", "text"]).to_pylist() for file in files]
    found = {row["id"]: (row["codes"], row["text"]) for table in tables for row in table}
    assert len(found) == sum(map(len, tables))
    return found


def stored_rows(bucket: Bucket, out: str) -> dict[str, Any]:
    """The rows of an output on S3, read with boto3."""
    return rows([pa.BufferReader(bucket.get(key)) for key in bucket.keys(f"{out}/data/")])


def for_seconds(
    seconds: float, fault: Fault, fits: Callable[[Request], bool] = lambda request: True
) -> Callable[..., Any]:
    """A rule that injects a fault from the first request that fits, for so long."""
    first: list[float] = []

    def rule(request: Request) -> Fault | None:
        if not fits(request):
            return None
        first.append(time.monotonic())
        return fault if first[-1] - first[0] < seconds else None

    return rule


def audio(request: Request) -> bool:
    return request.method in ("GET", "HEAD") and request.key.endswith((".wav", ".flac"))


def sometimes(
    share: float, fault: Fault, fits: Callable[[Request], bool] = lambda request: True
) -> Callable[..., Any]:
    """A rule that injects a fault into a share of what fits, the same ones each time."""
    rng = random.Random(7)
    return lambda request: fault if fits(request) and rng.random() < share else None


# ------------------------------------------------------------------------------
# writers that race

LOST = {
    "lost": Fault(done=True, lost=True),
    "503": Fault(done=True, status=503, code="SlowDown"),
    "500": Fault(done=True, status=500),
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_a_put_whose_answer_is_lost_has_succeeded(bucket: Bucket, fault: Fault) -> None:
    seen = iter([fault])
    bucket.proxy.rule = lambda request: next(seen, None) if request.conditional else None
    storage = open_storage(bucket.url("out"))
    assert storage.create("a", b"ours")
    assert bucket.proxy.faults == 1 and bucket.get("out/a") == b"ours"
    assert not storage.create("a", b"theirs") and bucket.get("out/a") == b"ours"


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_a_put_whose_answer_is_lost_has_succeeded_beside_files_that_were_listed(
    bucket: Bucket, fault: Fault
) -> None:
    """A client that remembers the listing would say that the object is not there, and so that
    another writer's is."""
    out = open_storage(bucket.url("out"))
    assert out.create("manifest/edits/00001.json", b"first")
    assert out.list("manifest/edits") == ["00001.json"]
    seen = iter([fault])
    bucket.proxy.rule = lambda request: next(seen, None) if request.conditional else None
    assert out.create("manifest/edits/00002.json", b"second") and bucket.proxy.faults == 1


def test_what_others_write_after_a_listing_is_read_and_moved(bucket: Bucket) -> None:
    out = open_storage(bucket.url("out"))
    out.write("manifest/staging/a", b"a")
    assert out.list("manifest/staging") == ["a"]
    bucket.put("out/manifest/staging/b", b"b")
    assert out.read("manifest/staging/b") == b"b"
    assert out.list("manifest/staging") == ["a", "b"]
    bucket.put("out/manifest/staging/c", b"c")
    assert out.move("manifest/staging/c", "data/c") and bucket.get("out/data/c") == b"c"


@pytest.mark.parametrize("name", ["q?x", "[a]*", "a b+c%20d", "o#1", "ö/{b}"])
def test_a_folder_of_any_name_is_no_pattern(bucket: Bucket, name: str) -> None:
    bucket.put("qax/manifest/staging/a", b"another's")
    out = open_storage(bucket.url(name))
    assert out.create("manifest/staging/a", b"a") and out.read("manifest/staging/a") == b"a"
    assert out.move("manifest/staging/a", "data/a") and not out.move("manifest/staging/a", "data/b")
    assert bucket.keys(name) == [f"{name}/data/a"] and bucket.get(f"{name}/data/a") == b"a"
    assert out.list("data") == ["a"] and out.find("data") == {"a": 1}


def test_small_files_are_read_by_one_request_each(bucket: Bucket) -> None:
    out = open_storage(bucket.url("out"))
    for number in range(3):
        out.write(f"manifest/commits/{number}.json", b"x")
    names = [f"manifest/commits/{name}" for name in out.list("manifest/commits")]
    before = len(bucket.proxy.seen)
    assert list(out.read_all(names)) == [b"x"] * 3
    assert [one.method for one in bucket.proxy.seen[before:]] == ["GET"] * 3


def test_a_put_that_another_writer_was_before_has_failed_whatever_is_lost(bucket: Bucket) -> None:
    bucket.put("out/a", b"theirs")
    seen = iter([Fault(done=True, lost=True), Fault(status=503, code="SlowDown")])
    bucket.proxy.rule = lambda request: next(seen, None) if request.conditional else None
    assert not open_storage(bucket.url("out")).create("a", b"ours")
    assert bucket.proxy.faults == 2 and bucket.get("out/a") == b"theirs"


def test_a_conflict_of_two_puts_is_tried_again(bucket: Bucket) -> None:
    seen = iter([Fault(status=409, code="ConditionalRequestConflict")] * 3)
    bucket.proxy.rule = lambda request: next(seen, None) if request.conditional else None
    assert open_storage(bucket.url("out")).create("a", b"ours")
    assert bucket.proxy.faults == 3


def test_a_record_is_removed_only_if_nobody_has_replaced_it_meanwhile(bucket: Bucket) -> None:
    """Another writes just before the request to delete arrives; then an answer is lost, and then a
    store knows no conditions."""
    storage = open_storage(f"s3://{bucket.name}/out")
    storage.write("commits/a.json", b"mine")
    late: list[Request] = []

    def overtaken(request: Request) -> Fault | None:
        if request.method == "DELETE" and not late:
            late.append(request)
            bucket.put("out/commits/a.json", b"newer")
        return None

    bucket.proxy.rule = overtaken
    assert not storage.remove_if("commits/a.json", b"mine") and late
    assert bucket.get("out/commits/a.json") == b"newer"
    answers = [Fault(done=True, lost=True)]
    bucket.proxy.rule = lambda r: answers.pop() if r.method == "DELETE" and answers else None
    storage.remove_if("commits/a.json", b"newer")
    assert not answers and not bucket.keys("out/")
    storage.write("commits/a.json", b"newer")
    unknown = Fault(status=501, code="NotImplemented")
    bucket.proxy.rule = lambda r: unknown if "if-match" in r.headers else None
    assert storage.remove_if("commits/a.json", b"newer") and not bucket.keys("out/")


def test_a_store_without_conditional_puts_is_refused_by_its_name(bucket: Bucket) -> None:
    unknown = Fault(status=501, code="NotImplemented")
    bucket.proxy.rule = lambda r: unknown if r.conditional else None
    with pytest.raises(OutputError, match=r"/out: this store has no conditional puts"):
        open_storage(bucket.url("out")).create("a", b"ours")


@pytest.mark.parametrize("fault", [LOST["lost"], LOST["503"]], ids=["lost", "503"])
def test_no_shard_is_missing_where_answers_are_lost(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], fault: Fault
) -> None:
    """Of everything that writes: puts, copies, deletes."""
    bucket.proxy.rule = sometimes(0.3, fault, lambda request: request.method in ("PUT", "DELETE"))
    result = tokenize_corpus(config(str(corpus)), bucket.url("out"), HERE)
    assert bucket.proxy.faults > 3
    assert result.recordings == len(expected) and stored_rows(bucket, "out") == expected
    bucket.proxy.rule = lambda request: None
    assert verify(bucket.url("out")) == []
    assert bucket.keys("out/manifest/staging/") == []


# ------------------------------------------------------------------------------
# sources with outages

OUTAGES = {
    "503": Fault(status=503, code="SlowDown"),
    "500": Fault(status=500),
    "lost": Fault(lost=True),
    "cut": Fault(cut=True),
}


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_is_waited_for(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], tmp_path: Path, fault: Fault
) -> None:
    bucket.upload(corpus, "speech")
    bucket.proxy.rule = for_seconds(2.5, fault, audio)
    result = tokenize_corpus(config(bucket.url("speech")), str(tmp_path / "out"), HERE)
    assert bucket.proxy.faults > 1 and result.failures == 0
    assert rows(sorted((tmp_path / "out" / "data").glob("*"))) == expected


def test_listing_waits_too(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    """Transcripts that are read while it lists included: none may be missing in silence."""
    bucket.upload(corpus, "speech")
    bucket.proxy.rule = sometimes(0.3, Fault(status=503, code="SlowDown"))
    tokenize_corpus(config(bucket.url("speech")), str(tmp_path / "out"), HERE)
    assert rows(sorted((tmp_path / "out" / "data").glob("*"))) == expected


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_a_longer_outage_ends_the_run_and_another_goes_on(
    bucket: Bucket,
    corpus: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    patience: Callable[[float], None],
    fault: Fault,
) -> None:
    bucket.upload(corpus, "speech")
    patience(1)
    out = tmp_path / "out"
    bucket.proxy.rule = lambda request: (
        fault if audio(request) and len(list((out / "data").glob("*"))) >= 2 else None
    )
    command = [
        bucket.url("speech"),
        str(out),
        "--codec",
        "mulaw",
        "--bandwidth",
        "24",
        "--shard-hours",
        "0.0004",
    ]
    assert main(["tokenize", *command, "--workers", "0", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert bucket.name in said and "again" in said and said.count("\n") == 1
    done = inspect(str(out))
    assert done.failures == () and 0 < done.recordings < len(expected)
    bucket.proxy.rule = lambda request: None
    assert main(["tokenize", *command, "--workers", "0", "--quiet"]) == 0
    assert rows(sorted((out / "data").glob("*"))) == expected and verify(str(out)) == []


def test_a_server_that_goes_and_comes_back(
    bucket: Bucket, corpus: Path, expected: dict[str, Any]
) -> None:
    bucket.upload(corpus, "speech")
    gone: list[float] = []

    def rule(request: Request) -> Fault | None:
        if len(bucket.keys("out/data/")) >= 2 and not gone:
            gone.append(time.monotonic())
            bucket.proxy.stop()
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1.5)"]).wait()
            bucket.proxy.start()
        return None

    bucket.proxy.rule = rule
    tokenize_corpus(config(bucket.url("speech")), bucket.url("out"), HERE)
    assert gone and stored_rows(bucket, "out") == expected and verify(bucket.url("out")) == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=503, code="SlowDown"), FailureKind.UNAVAILABLE),
        (Fault(status=403, code="AccessDenied"), FailureKind.UNREADABLE),
        (Fault(status=404, code="NoSuchKey"), FailureKind.NOT_FOUND),
    ],
    ids=["503", "403", "404"],
)
def test_one_object_that_cannot_be_had_costs_that_recording(
    bucket: Bucket,
    corpus: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    patience: Callable[[float], None],
    fault: Fault,
    kind: FailureKind,
) -> None:
    bucket.upload(corpus, "speech")
    patience(1)
    bucket.proxy.rule = lambda request: fault if request.key.endswith("/004.wav") else None
    tokenize_corpus(config(bucket.url("speech")), str(tmp_path / "out"), HERE)
    failures = inspect(str(tmp_path / "out")).failures
    assert [(failure.id, failure.kind) for failure in failures] == [("004.wav", kind)]
    assert "\n" not in failures[0].message and "004.wav" in failures[0].message
    found = rows(sorted((tmp_path / "out" / "data").glob("*")))
    assert found == {id: row for id, row in expected.items() if id != "004.wav"}


def test_credentials_that_expire_are_no_recording_s_fault(
    bucket: Bucket, corpus: Path, tmp_path: Path
) -> None:
    bucket.upload(corpus, "speech")
    bucket.proxy.rule = lambda request: (
        Fault(status=400, code="ExpiredToken") if audio(request) else None
    )
    with pytest.raises(UsageError, match="credentials are refused"):
        tokenize_corpus(config(bucket.url("speech")), str(tmp_path / "out"), HERE)
    assert inspect(str(tmp_path / "out")).failures == ()


def test_a_slow_download_is_no_time_out(bucket: Bucket, corpus: Path) -> None:
    bucket.upload(corpus, "speech")
    source = open_source(bucket.url("speech"))
    first, slow, *_ = [recording for recording in source.scan() if recording.id.endswith(".wav")]
    decoder = Decoder(DecodeSettings(source, 48_000, 2))
    read = [
        sum(block.shape[1] for block in decoding) for decoding in decoder.decode([first])
    ]  # it runs: no start is waited for
    decoder.settings = replace(decoder.settings, timeout=6.0)
    size = len(bucket.get(f"speech/{slow.id}"))
    bucket.proxy.rule = lambda request: (
        Fault(pause=0.8, piece=-(-size // 10)) if request.key.endswith(slow.id) else None
    )
    began = time.monotonic()
    read += [sum(block.shape[1] for block in decoding) for decoding in decoder.decode([slow])]
    decoder.close()
    assert time.monotonic() - began > decoder.settings.timeout
    assert read == [
        read_audio(str(corpus / recording.id), 48_000, 2).samples.shape[1]
        for recording in (first, slow)
    ]


def test_web_hosts_that_are_gone_cost_their_recordings_and_not_the_run(
    corpus: Path, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(0.5)
    lines = [
        {"path": "http://127.0.0.1:9/a.wav", "id": "gone"},
        {"path": str(corpus / "000.wav"), "id": "there"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tokenize_corpus(
        replace(config(str(tmp_path / "list.jsonl")), follow_links=True),
        str(tmp_path / "out"),
        HERE,
    )
    done = inspect(str(tmp_path / "out"))
    assert done.recordings == 1 and [failure.kind for failure in done.failures] == [
        FailureKind.UNAVAILABLE
    ]
    many = [{"path": f"http://127.0.0.1:9/{n}.wav", "id": str(n)} for n in range(9)]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(line) + "\n" for line in many))
    with pytest.raises(SourceUnavailable):
        tokenize_corpus(
            replace(config(str(tmp_path / "many.jsonl")), shard_hours=1, follow_links=True),
            str(tmp_path / "none"),
            HERE,
        )
    assert inspect(str(tmp_path / "none")).failures == ()


# ------------------------------------------------------------------------------
# errors in a line


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SETUPS: dict[str, tuple[dict[str, str | None], str, str]] = {
    "no credentials": (
        {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
        "{url}",
        "AWS_ACCESS_KEY_ID",
    ),
    "half of them": ({"AWS_SECRET_ACCESS_KEY": None}, "{url}", "AWS_SECRET_ACCESS_KEY"),
    "no profile": ({"AWS_PROFILE": "nobody"}, "{url}", "nobody"),
    "no server": (
        {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port()}"},
        "{url}",
        "cannot be reached",
    ),
    "no host": ({"AWS_ENDPOINT_URL": "http://no-such-host.invalid"}, "{url}", "cannot be reached"),
    "no scheme": ({"AWS_ENDPOINT_URL": "localhost:9000"}, "{url}", "http://"),
    "not encrypted": ({"AWS_ENDPOINT_URL": "https"}, "{url}", "secure"),
    "no bucket": ({}, "s3://no-such-bucket-here/x", "no such bucket"),
    "no bucket name": ({}, "s3://Not_A_Bucket!/x", "Not_A_Bucket!"),
}


@pytest.mark.parametrize(
    ("what", "setup"),
    [
        *[(what, setup) for what in ("source", "out") for setup in SETUPS],
        *[
            (what, setup)
            for what in ("inspect", "verify", "decode")
            for setup in ("no credentials", "no server", "no bucket")
        ],
    ],
)
def test_what_is_not_set_up_is_one_line_and_exit_code_2(
    bucket: Bucket,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    patience: Callable[[float], None],
    what: str,
    setup: str,
) -> None:
    changes, url, says = SETUPS[setup]
    patience(0.5)
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(
                name, value.replace("https", bucket.proxy.url.replace("http", "https", 1))
            )
    forget_clients()
    place = url.format(url=bucket.url("x"))
    how = ["--codec", "mulaw", "--bandwidth", "24", "--workers", "0", "--quiet"]
    commands = {
        "source": ["tokenize", place, str(tmp_path / "out"), *how],
        "out": ["tokenize", str(corpus), place, *how],
        "decode": ["decode", place, "000.wav", "-o", str(tmp_path / "x.wav")],
    }
    assert main(commands.get(what, [what, place])) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and says in said and place.split("/")[2] in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refusals_are_one_line(
    bucket: Bucket, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    bucket.upload(corpus, "speech")
    bucket.proxy.rule = lambda request: Fault(status=403, code=code)
    how = ["--codec", "mulaw", "--bandwidth", "24", "--workers", "0", "--quiet"]
    for source, out in (
        (bucket.url("speech"), str(tmp_path / "out")),
        (str(corpus), bucket.url("out")),
    ):
        assert main(["tokenize", source, out, *how]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and bucket.name in said and "credentials" in said


def test_an_output_that_fails_for_good_is_one_line_and_resumed(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], patience: Callable[[float], None]
) -> None:
    patience(0.5)
    bucket.proxy.rule = lambda request: (
        Fault(status=503) if len(bucket.keys("out/data/")) >= 2 else None
    )
    with pytest.raises(OutputError, match="run the same command again") as caught:
        tokenize_corpus(config(str(corpus)), bucket.url("out"), HERE)
    assert "\n" not in str(caught.value)
    bucket.proxy.rule = lambda request: None
    tokenize_corpus(config(str(corpus)), bucket.url("out"), HERE)
    assert stored_rows(bucket, "out") == expected and verify(bucket.url("out")) == []


def test_patience_is_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("soon", "-1", "nan"):
        monkeypatch.setenv(PATIENCE_VARIABLE, given)
        with pytest.raises(UsageError, match=PATIENCE_VARIABLE):
            patience_seconds()


def test_other_clients_errors_are_judged_by_their_status() -> None:
    class HttpError(Exception):
        def __init__(self, code: int) -> None:
            super().__init__("said so")
            self.code = code

    assert [judge(HttpError(code), "gs://b/x").kind for code in (503, 429, 404, 403)] == [
        "outage",
        "outage",
        "answer",
        "answer",
    ]
    gone = {"Error": {"Code": "NoSuchUpload"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    missing = FileNotFoundError("as s3fs has it")
    missing.__cause__ = ClientError(gone, "CompleteMultipartUpload")
    assert judge(missing, "s3://b/x").kind == "outage"
    assert judge(ConnectionResetError(104, "reset"), "x://y").kind == "outage"
    assert judge(RecursionError("too deep"), "s3://b/x").kind == "setup"
    assert judge(socket.gaierror(-2, "unknown"), "x://y") == ("outage", "unknown", False)
    assert (
        judge(PermissionError(13, "no"), "x://y").kind
        == judge(ValueError("no"), "x://y").kind
        == "answer"
    )


def test_nodes_are_told_of_the_store_and_not_of_this_machine_s_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/home/somebody/.aws/config")
    passed = store_environment()
    assert (
        passed["AWS_ENDPOINT_URL"] == "http://store"
        and "AWS_CONFIG_FILE" not in passed
        and "HOME" not in passed
    )


# ------------------------------------------------------------------------------
# every way in, every command


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg", "aiff"])
def test_samples_from_s3_are_the_file_s(bucket: Bucket, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, sound(99_999, 2, 44_100).samples.T, 44_100)
    bucket.put(f"x/a.{ending}", path.read_bytes())
    file = open_file(bucket.url(f"x/a.{ending}"))
    assert not isinstance(file, str) and file.read() == path.read_bytes()
    file.seek(0)
    there, here = read_audio(file), read_audio(str(path))
    assert there.sample_rate == here.sample_rate and np.array_equal(there.samples, here.samples)


def test_files_of_any_length_arrive_whole(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.system.remote.PIECE", 1000)
    monkeypatch.setattr("pipelines.corpus.sources.downloads.PIECE", 1000)
    for length in (0, 1, 999, 1000, 1001, 2000, 4321):
        content = random.Random(length).randbytes(length)
        bucket.put("x", content)
        file = open_file(bucket.url("x"))
        assert not isinstance(file, str) and file.read() == content
    with pytest.raises(RecordingError) as caught:
        open_file(bucket.url("nothing"))
    assert caught.value.kind == FailureKind.NOT_FOUND


def as_tar(corpus: Path, folder: Path) -> str:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for path in sorted(corpus.rglob("*.*")):
            tar.add(path, path.name)
    return "a.tar"


def as_manifest(corpus: Path, folder: Path) -> str:
    lines = []
    for path in sorted([*corpus.rglob("*.wav"), *corpus.rglob("*.flac")]):
        (folder / path.name).write_bytes(path.read_bytes())
        text = path.with_suffix(".txt")
        lines.append(
            {"path": path.name} | ({"text": text.read_text().strip()} if text.exists() else {})
        )
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "list.jsonl"


def as_parquet(corpus: Path, folder: Path) -> str:
    (folder / "set").mkdir()
    table = []
    for path in sorted([*corpus.rglob("*.wav"), *corpus.rglob("*.flac")]):
        text = path.with_suffix(".txt")
        row = {"id": path.name, "audio": {"bytes": path.read_bytes(), "path": path.name}}
        table.append(row | {"text": text.read_text().strip() if text.exists() else None})
    pq.write_table(pa.Table.from_pylist(table), folder / "set" / "0.parquet", row_group_size=3)
    return "set"


@pytest.mark.parametrize("kind", [as_tar, as_manifest, as_parquet])
def test_every_kind_of_source_lies_on_s3_as_it_lies_here(
    bucket: Bucket,
    corpus: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    kind: Callable[[Path, Path], str],
) -> None:
    """With faults in some of the requests."""
    (tmp_path / "made").mkdir()
    name = kind(corpus, tmp_path / "made")
    bucket.upload(tmp_path / "made", "made")
    bucket.proxy.rule = sometimes(0.15, Fault(status=503, code="SlowDown"))
    source = open_source(bucket.url(f"made/{name}"))
    assert type(source).__name__.lower().startswith(kind.__name__.removeprefix("as_"))
    tokenize_corpus(config(bucket.url(f"made/{name}")), str(tmp_path / "out"), HERE)
    found = rows(sorted((tmp_path / "out" / "data").glob("*")))
    assert {id.rsplit("/", 1)[-1]: row for id, row in found.items()} == {
        id.rsplit("/", 1)[-1]: row for id, row in expected.items()
    }


ODD = ["x::y.wav", "zip::a.wav", "a b+c.wav", "50%.wav", "q?.wav", "h#.wav", "[b]*.wav", "ö.wav"]


@pytest.mark.parametrize("size", [9, 3_000_000])
def test_a_full_disk_for_copies_is_told_as_that(size: int, monkeypatch: Any) -> None:
    out = open_storage("memory://full-disk")
    out.write("a", bytes(size))
    full = "pipelines.output.storage.remote.tempfile.NamedTemporaryFile"
    monkeypatch.setattr(full, lambda prefix, **more: open("/dev/full", "wb", **more))  # noqa: PTH123, SIM115
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space"), out.fetch("a"):
        pass


@pytest.mark.parametrize("root", ["s3://", "s3:/b/out", "gs:///", "file://", "file:/x"])
def test_half_a_url_is_no_output(root: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="and then a place"):
        open_storage(root).write("a", b"a")
    for name in ("a:b", "Artist: Title/x", "memory://x", f"file://{tmp_path}/o"):
        open_storage(name).write("a", b"a")
    assert {path.name for path in tmp_path.iterdir()} == {"a:b", "Artist: Title", "o"}


@pytest.mark.parametrize("listed", [False, True])
def test_objects_of_any_name_are_recordings(bucket: Bucket, tmp_path: Path, listed: bool) -> None:
    """In a folder, and in a list."""
    soundfile.write(tmp_path / "a.wav", sound(4_000).samples.T, 48_000)
    for name in ODD:
        bucket.put(f"in/{name}", (tmp_path / "a.wav").read_bytes())
    source = bucket.url("in")
    if listed:
        source = bucket.url("in/list.jsonl")
        bucket.put(
            "in/list.jsonl", "".join(json.dumps({"path": one}) + "\n" for one in ODD).encode()
        )
    tokenize_corpus(config(source), str(tmp_path / "out"), HERE)
    found = rows(sorted((tmp_path / "out" / "data").glob("*")))
    assert {id.rsplit("/", 1)[-1] for id in found} == set(ODD)


def test_every_command_works_on_an_output_on_s3(
    bucket: Bucket,
    corpus: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pipelines import CodesDataset

    out = bucket.url("some/out")
    assert (
        main(
            [
                "tokenize",
                str(corpus),
                out,
                "--codec",
                "mulaw",
                "--bandwidth",
                "24",
                "--workers",
                "0",
            ]
        )
        == 0
    )
    assert (
        main(
            [
                "tokenize",
                str(corpus),
                out,
                "--codec",
                "mulaw",
                "--bandwidth",
                "24",
                "--workers",
                "0",
            ]
        )
        == 0
    )
    assert stored_rows(bucket, "some/out") == expected
    bucket.proxy.rule = sometimes(0.05, Fault(status=503, code="SlowDown"))
    assert (
        main(["inspect", out]) == 0
        and f"{len(expected)} of {len(expected)}" in capsys.readouterr().out
    )
    assert main(["verify", out]) == 0
    assert main(["decode", out, "000.wav", "-o", str(tmp_path / "x.wav")]) == 0
    assert main(["audit", out, "--all", "--workers", "0", "--quiet"]) == 0
    assert "some/out/audit/report.json" in bucket.keys("some/out/")
    bucket.proxy.rule = lambda request: None
    data = CodesDataset(out)
    assert len(data) == len(expected)
    assert {sample.id: sample.codes.tolist() for sample in (data[i] for i in range(len(data)))} == {
        id: codes for id, (codes, _) in expected.items()
    }


def test_a_loader_names_what_its_store_does_not_give(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], patience: Callable[[float], None]
) -> None:
    """And gives it once the store is back."""
    from pipelines import CodesDataset

    tokenize_corpus(config(str(corpus)), bucket.url("out"), HERE)
    data = CodesDataset(bucket.url("out"))
    patience(0.5)
    bucket.proxy.rule = lambda request: Fault(status=503)
    with pytest.raises(ShardError, match=r"train-00000-of.*cannot be read.*does not answer"):
        data[0]
    patience(30)
    bucket.proxy.rule = for_seconds(1, Fault(status=503))
    assert data[0].codes.tolist() == expected[data[0].id][0]


# ------------------------------------------------------------------------------
# kills, and two at a time


def command(corpus: Path, out: str) -> list[str]:
    base = [
        sys.executable,
        "-m",
        "pipelines",
        "tokenize",
        str(corpus),
        out,
        "--codec",
        "mulaw",
        "--bandwidth",
        "24",
    ]
    return [*base, "--shard-hours", "0.0004", "--workers", "0", "--quiet"]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], number: int
) -> None:
    """Killed as the server answers a request that writes: before it is done, or after."""
    rng = random.Random(number)
    for _ in range(2):
        process = subprocess.Popen(command(corpus, bucket.url("out")), cwd=ROOT)
        wait = rng.randrange(1, 8)
        seen = [0]

        def rule(
            request: Request, process: Any = process, wait: int = wait, seen: list[int] = seen
        ) -> Fault | None:
            seen[0] += request.method in ("PUT", "DELETE")
            if seen[0] == wait:
                process.send_signal(signal.SIGKILL)
                return Fault(lost=True, done=rng.random() < 0.5)
            return None

        bucket.proxy.rule = rule
        process.wait()
    bucket.proxy.rule = lambda request: None
    tokenize_corpus(config(str(corpus)), bucket.url("out"), HERE)
    assert stored_rows(bucket, "out") == expected and verify(bucket.url("out")) == []
    assert bucket.keys("out/manifest/staging/") == []


def test_parts_that_killed_runs_have_uploaded_are_thrown_away(
    bucket: Bucket, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not those of a run that is alive, and nobody else's; where the store does not say what
    there is, they stay. More than one page of them."""
    living, dead, shard = "a" * 12, "b" * 12, "train-00000-of-00001"
    staging = "codes/out/manifest/staging"
    storage = open_storage(bucket.url("codes/out"))
    lease = Lease(storage, living, while_there="manifest/config.json")
    lease._write()
    mine = [f"{staging}/{shard}.{dead}.{number:032x}.parquet" for number in range(5)]
    others = [
        f"{staging}/{shard}.{living}.{1:032x}.parquet",
        f"{staging}/{shard}.parquet",
        f"codes/out2/manifest/staging/{shard}.{dead}.{0:032x}.parquet",
        "codes/out/data/somebody",
    ]
    for key in mine + others:
        upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]
        bucket.client.upload_part(
            Bucket=bucket.name, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 100
        )

    def there() -> list[str]:
        found = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())
        return sorted(one["Key"] for one in found)

    bucket.proxy.rule = lambda request: (
        Fault(403, "AccessDenied") if "uploads" in request.path.partition("?")[2] else None
    )
    tokenize_corpus(config(str(corpus)), bucket.url("codes/out"), HERE)
    assert there() == sorted(mine + others)
    bucket.proxy.rule = lambda request: None
    tokenize_corpus(config(str(corpus)), bucket.url("codes/out"), HERE)
    assert there() == sorted(others)
    assert verify(bucket.url("codes/out")) == []


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_drivers_at_once_do_the_work_once(
    bucket: Bucket, corpus: Path, expected: dict[str, Any], number: int
) -> None:
    pair = [
        subprocess.Popen(
            command(corpus, bucket.url("out")), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for _ in "ab"
    ]
    said = [process.communicate()[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert stored_rows(bucket, "out") == expected and verify(bucket.url("out")) == []
