"""A corpus in a list, whose recordings have texts, speakers and languages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile


def write_list(folder: Path, numbers: range, name: str = "list.jsonl") -> Path:
    """Recordings of 0.1 to 3 s of five speakers, one of whom nobody names, and a file that
    fails."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number in numbers:
        rng = np.random.default_rng(number)
        samples = rng.standard_normal((4_800 + 6_000 * (number % 23), 2)).astype(np.float32) * 0.1
        soundfile.write(folder / f"{number:03d}.wav", samples, 48_000)
        line = {"path": f"{number:03d}.wav", "take": number, "album": f"a{number % 3}"}
        line |= {"text": f"text {number} ä\n\t'\""} if number % 4 else {}
        line |= {"speaker": f"s{number % 5}"} if number % 5 else {}
        lines.append(line | {"language": ("de", "en")[number % 2]})
    (folder / "bad.wav").write_bytes(b"nothing")
    lines.insert(len(lines) // 2, {"path": "bad.wav", "speaker": "s1", "duration": 0.1})
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / name
