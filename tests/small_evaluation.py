"""A folder as `codecshards evaluate` writes it, of noise through no codec at all: the systems
differ by how much noise of another kind they add."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

SYSTEMS = {"good-6": 0.003, "fair-6": 0.03, "poor-3": 0.3}
"""points, best first, and what they add"""


def write_evaluation(
    folder: Path,
    excerpts: Mapping[str, int],
    *,
    seconds: float = 1.6,
    rate: int = 16_000,
    channels: int = 1,
    systems: Mapping[str, float] | None = None,
) -> Path:
    """Write excerpts of each domain, so many, and every system's audio."""
    systems = SYSTEMS if systems is None else systems
    random = np.random.default_rng(1)
    length = round(seconds * rate)
    rows = []
    for domain, count in excerpts.items():
        for number in range(count):
            name = f"{domain}-{number}"
            tone = np.sin(2 * np.pi * (200 + 50 * number) * np.arange(length) / rate)
            samples = 0.1 * tone + 0.05 * random.standard_normal((channels, length))
            heard = {"reference": samples} | {
                system: samples + 0.1 * added * random.standard_normal((channels, length))
                for system, added in systems.items()
            }
            for system, audio in heard.items():
                path = folder / "audio" / system / f"{name}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, np.clip(audio, -1, 1).T, rate, subtype="PCM_24")
            rows.append(
                {
                    "name": name,
                    "domain": domain,
                    "source": f"{domain}/{number}.wav",
                    "id": f"{domain}/{number}.wav",
                    "start": 0.0,
                    "seconds": seconds,
                    "sample_rate": rate,
                    "channels": channels,
                }
            )
    points = [
        {
            "name": name,
            "system": name.split("-")[0],
            "kbps": float(name.split("-")[1]),
            "measured_kbps": float(name.split("-")[1]) + 0.08,
        }
        for name in systems
    ]
    value = {"format": 1, "seed": 0, "excerpts": rows, "systems": points}
    (folder / "evaluation.json").write_text(json.dumps(value))
    return folder
