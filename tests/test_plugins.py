"""Codecs, sources and formats of another package: the example's, installed and used end to end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from tokenizer import plugins

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "plugin"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example installed in it, and a package beside it that does not load and
    wants a name that ships."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"  # a build leaves files behind
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", folder, source], check=True, capture_output=True)
    info = folder / "broken-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        "[codecshards.codecs]\nbroken = no_such_module:X\nmulaw = no_such_module:Y\n"
        "[codecshards.sources]\nbad = no_such_module:Z\nleaves = leaves:X\n"
        "[codecshards.formats]\nodd = json:dumps\ntwice = json:dumps\n"
    )
    (folder / "leaves.py").write_text("raise SystemExit(7)\n")
    shutil.copytree(info, folder / "other-2.dist-info")
    (folder / "other-2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: other\nVersion: 2\n"
    )
    (folder / "other-2.dist-info" / "entry_points.txt").write_text(
        "[codecshards.formats]\ntwice = json:loads\n"
    )
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three recordings in a list, and a line that names none."""
    rng = np.random.default_rng(0)
    for number in range(3):
        samples = 0.2 * rng.standard_normal(int(rng.integers(4_000, 30_000)))
        soundfile.write(tmp_path / f"{number}.wav", samples, 8_000, "FLOAT")
    (tmp_path / "music.paths").write_text("0.wav\n1.wav\nmissing.wav\n2.wav\n")
    return tmp_path / "music.paths"


def run(site: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "codecshards", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    return ended


@pytest.mark.parametrize("workers", [0, 1])
def test_a_codec_a_source_and_a_format_from_outside_work_end_to_end(
    site: Path, corpus: Path, tmp_path: Path, workers: int
) -> None:
    """With one worker through Ray's processes. What is stored is read with pyarrow."""
    out, asked = tmp_path / "out", ["--codec", "alaw", "--bandwidth", "64", "--format", "arrow"]
    asked += ["--quality", "peak"]
    tokenize = ["tokenize", corpus, out, *asked, "--workers", workers]
    run(site, *tokenize, code=3)  # one line names no file
    run(site, *tokenize, code=3)  # all is done
    rows = [
        row
        for file in sorted((out / "data").glob("*.arrow"))
        for row in pa.ipc.open_file(file.read_bytes()).read_all().to_pylist()
    ]
    assert [row["id"] for row in rows] == ["0.wav", "1.wav", "2.wav"]
    for row in rows:
        samples, _ = soundfile.read(corpus.parent / row["id"], dtype="float32")
        assert row["num_samples"] == len(samples)
        assert row["peak"] == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=1e-4)
        codes = np.array(row["codes"][0][:7_920]).astype(float)
        curve = codes / 127.5 - 1
        assert np.abs(np.sign(curve) - np.sign(samples[:7_920])).mean() < 0.1
    run(site, "verify", out)
    if workers:
        return
    assert "alaw" in run(site, "inspect", out).stdout
    run(site, "decode", out, "1.wav", "-o", tmp_path / "decoded.wav")
    decoded = soundfile.info(tmp_path / "decoded.wav")
    assert (decoded.samplerate, decoded.frames) == (8_000, rows[1]["num_samples"])
    run(site, "audit", out, "--all", "--reencode", "--metrics", "si-snr", "--workers", "0")
    report = json.loads((out / "audit" / "report.json").read_text())
    assert report["passed"] is True
    loader = (
        f"import codecshards as cs; data = cs.CodesDataset({str(out)!r}); "
        "print(len(data), [data[i].codes.shape[1] for i in range(3)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", loader],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    frames = [sum(row["chunk_frames"]) for row in rows]
    assert ended.stdout.strip() == f"3 {frames}", ended.stderr


def test_the_registry_lists_what_there_is_and_where_it_comes_from(site: Path) -> None:
    found = json.loads(run(site, "inspect", "--registry", "--json").stdout)
    by_name = {(entry["kind"], entry["name"], entry["package"]): entry for entry in found}
    example = "codecshards-example 1.0"
    for kind, name in (("codec", "alaw"), ("source", "paths"), ("format", "arrow")):
        assert by_name[kind, name, example]["trouble"] is None
    assert "fails to load" in by_name["codec", "broken", "broken 0.1"]["trouble"]
    assert "ships" in by_name["codec", "mulaw", "broken 0.1"]["trouble"]
    assert "is not a subclass" in by_name["format", "odd", "broken 0.1"]["trouble"]
    for package in ("broken 0.1", "other 2"):
        trouble = by_name["format", "twice", package]["trouble"]
        assert trouble == "twice comes from broken 0.1 and other 2: uninstall all but one"
    assert {entry["name"] for entry in found if entry["kind"] == "format"} >= {
        "parquet",
        "webdataset",
    }


def test_a_package_that_does_not_load_harms_nobody_who_does_not_ask(
    site: Path, corpus: Path, tmp_path: Path
) -> None:
    here = ["--workers", "0", "--codec", "mulaw"]
    run(site, "tokenize", corpus.parent, tmp_path / "out", *here)
    for asked, package in ((["--codec", "broken"], "broken 0.1"), (["--format", "odd"], "odd")):
        wrong = run(site, "tokenize", corpus, tmp_path / "no", *here, *asked, code=2).stderr
        assert package in wrong.splitlines()[-1] and "Traceback" not in wrong
    wrong = run(site, "tokenize", f"bad:{corpus}", tmp_path / "no", *here, code=2).stderr
    assert "broken 0.1, which fails to load" in wrong.splitlines()[-1]
    wrong = run(site, "tokenize", tmp_path / "nowhere", tmp_path / "no", *here, code=2).stderr
    assert "no such folder" in wrong and "broken 0.1, which fails to load: SystemExit: 7" in wrong
    assert not (tmp_path / "no").exists()


def test_a_source_that_was_asked_for_by_its_prefix_is_opened_again_as_such(
    tmp_path: Path,
) -> None:
    """A folder of tars is one of tars unless it is said to be a folder."""
    import tarfile

    from pipelines.corpus.sources import open_source

    folder = tmp_path / "corpus"
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w"):
        pass
    tars, plain = open_source(str(folder)), open_source(f"folder:{folder}")
    assert (tars.address, plain.address) == (str(folder), f"folder:{folder}")
    assert type(open_source(plain.address)) is type(plain) is not type(tars)


def test_names_that_ship_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [plugins.EntryPoint("mulaw", "json:dumps", plugins.CODECS)]
    monkeypatch.setattr(plugins, "entry_points", lambda **_: points)
    assert plugins.plugin_names(plugins.CODECS, ["mulaw"]) == []
