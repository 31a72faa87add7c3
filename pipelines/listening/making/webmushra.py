"""The same test for webMUSHRA (Schoeffler et al., https://github.com/audiolabs/webMUSHRA): its
configuration and WAVE files, to be laid into its folder.

    configs/codecshards.yaml, configs/resources/codecshards/SCREEN/SYSTEM.wav

It shows the hidden reference by itself and would filter anchors by itself: here they are files, the
same as on the page. What it writes names systems, as its results need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.evaluating.folder import write_file
from pipelines.listening.folder import REFERENCE, Design, Screen
from pipelines.listening.making.sound import Samples, encoded

_ASKED = (
    "Rate the basic audio quality of each condition, compared with the reference. One of the "
    "conditions is the reference itself, and should get 100."
)
_AUDIO = "configs/resources/codecshards"


def sink(folder: Path) -> Callable[[Screen, Mapping[str, Samples], int], None]:
    """What writes the files of a screen."""

    def write(screen: Screen, audio: Mapping[str, Samples], rate: int) -> None:
        for stimulus in screen.stimuli:
            path = folder / _AUDIO / screen.id / f"{stimulus.system}.wav"
            write_file(path, encoded(audio[stimulus.id], rate, "WAV"))

    return write


def write_config(folder: Path, design: Design) -> None:
    """Write the configuration."""
    config = {
        "testname": design.title,
        "testId": design.id,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [
            _page(design.training, "Training: not counted"),
            ["random", *(_page(screen, "Rate each condition") for screen in design.screens)],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Thank you for listening.",
                "showResults": False,
                "writeResults": True,
            },
        ],
    }
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    write_file(folder / "configs" / "codecshards.yaml", text.encode())


def _page(screen: Screen, name: str) -> dict[str, Any]:
    return {
        "type": "mushra",
        "id": screen.id,
        "name": name,
        "content": _ASKED,
        "showWaveform": False,
        "enableLooping": True,
        "reference": f"{_AUDIO}/{screen.id}/{REFERENCE}.wav",
        "createAnchor35": False,
        "createAnchor70": False,
        "stimuli": {
            stimulus.system: f"{_AUDIO}/{screen.id}/{stimulus.system}.wav"
            for stimulus in screen.stimuli
            if stimulus.system != REFERENCE
        },
    }
