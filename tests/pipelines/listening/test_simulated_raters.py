"""Thirty raters through the whole of it: make, serve, analyse, by the command."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import main
from pipelines.listening.folder import Screen, read_design, read_tokens
from pipelines.listening.options import ServeOptions
from pipelines.listening.order import screens_of
from pipelines.listening.serving.server import in_thread, start

PLANTED = {"reference": 100, "good-6": 84, "fair-6": 66, "poor-3": 38, "anchor-3.5": 18}
RANDOM, HUNDRED = {"4", "13", "22"}, {"7", "28"}
"""raters who do not listen"""


def scores(screen: Screen, rater: str, chance: random.Random) -> dict[str, int]:
    def score(system: str) -> int:
        if rater in RANDOM:
            return chance.randint(0, 100)
        if rater in HUNDRED:
            return 100
        if system == "reference":
            return chance.choice([100, 100, 99, 97])
        return max(0, min(100, round(chance.gauss(PLANTED[system], 12))))

    return {one.id: score(one.system) for one in screen.stimuli}


def test_thirty_raters_find_the_planted_order(
    evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "test"
    made = ["mushra", "make", str(evaluation), str(folder), "--seconds", "1", "--quiet"]
    assert main([*made, "--screens", "4"]) == 0
    said = capsys.readouterr().out
    assert "5 screens of up to 5 signals; 4 a rater, 30 raters" in said
    assert "-23 LUFS" in said and "mushra serve" in said
    design = read_design(folder)
    server = start(str(folder), ServeOptions(port=0, quiet=True))
    thread = in_thread(server)

    def post(path: str, value: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.server_address[1]}/api/{path}",
            json.dumps({"test": design.id, **value}).encode(),
            {"Content-Type": "application/json"},
        )
        return json.load(urllib.request.urlopen(request, timeout=10))

    names = [screen.id for screen in design.screens]
    for token in read_tokens(folder):
        rater = post("begin", {"token": token})["rater"]
        for name in screens_of(names, design.seed, rater, design.per_rater):
            screen = design.screen(name)
            assert screen is not None
            given = scores(screen, rater, random.Random(f"{rater} {name}"))
            message = {"token": token, "session": f"of {rater}", "kind": "screen"}
            post("rate", {**message, "screen": name, "scores": given, "seconds": 20})
    server.shutdown()
    thread.join()
    server.server_close()
    server.listening.store.close()

    assert main(["mushra", "analyse", str(folder)]) == 0
    assert "25 raters kept of 30; 5 screens." in capsys.readouterr().out
    found = json.loads((folder / "analysis" / "analysis.json").read_text())
    assert {one["rater"] for one in found["raters"] if not one["kept"]} == RANDOM | HUNDRED
    means = {one["name"]: one["mean"] for one in found["systems"] if one["domain"] == "all"}
    assert sorted(means, key=lambda name: -means[name]["value"]) == list(PLANTED)
    for name in ("good-6", "fair-6", "poor-3", "anchor-3.5"):
        assert means[name]["count"] == 100
        assert abs(means[name]["value"] - PLANTED[name]) < 2 * means[name]["half"]
    assert len(found["pairs"]) == 3 and all(pair["p_holm"] < 0.01 for pair in found["pairs"])
    assert found["few_ratings"] == []


def test_the_command_says_what_is_wrong_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["make", str(tmp_path), str(tmp_path / "test")],
        ["serve", str(tmp_path)],
        ["analyse", str(tmp_path)],
        ["make", "--seconds", "99", "a", "b"],
    ):
        assert main(["mushra", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("codecshards: ") and said.count("\n") == 1
