"""`codecshards ecdc` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from sounds import sound

from pipelines.cli.main import main
from tokenizer.codecs.encodec.seeded import write_seeded


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codec = str(write_seeded(tmp_path / "codec", model="48khz", size="reduced"))
    wav, file = str(tmp_path / "song.wav"), str(tmp_path / "song.ecdc")
    soundfile.write(wav, 3 * sound(47_520 + 200).samples.T, 48_000)
    assert main(["ecdc", "encode", wav, "--codec", codec, "-b", "3", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{file}: 452 bytes, 0.994 s of encodec_48khz, 2 codebooks, 3.64")
    assert f"decode it with --codec {codec}" in said.err
    assert "the original tool cannot decode a file of this length (its overlap-add" in said.err
    assert main(["ecdc", "decode", file, "--codec", codec, "--device", "cpu"]) == 0
    assert "47720 samples at 48000 Hz" in capsys.readouterr().out
    again = ["ecdc", "decode", file, "--codec", codec, "--device", "cpu"]
    assert main(again) == 2
    assert "--force overwrites it" in capsys.readouterr().err
    Path(file).write_bytes(Path(file).read_bytes()[:-1])
    assert main([*again, "--force"]) == 1
    assert "the file is cut off" in capsys.readouterr().err
    assert main(["ecdc", "encode", wav, "--hq", "--codec", codec]) == 2
    assert "give one of --hq and --codec" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ecdc", command, "--help"])
    assert ended.value.code == 0 and "25 to 40% smaller" in " ".join(
        capsys.readouterr().out.split()
    )
