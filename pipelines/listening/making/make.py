"""Make a listening test: cut, match levels, filter anchors, write the page."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.evaluating import folder as evaluations
from pipelines.evaluating.folder import (
    Evaluation,
    Excerpt,
    read_audio_file,
    read_evaluation,
    write_file,
)
from pipelines.listening.folder import (
    ANCHOR,
    DESIGN,
    PAGE,
    RATINGS,
    REFERENCE,
    TRAINING,
    WEBMUSHRA,
    Design,
    Point,
    Screen,
    Stimulus,
    local_folder,
    write_json,
    write_raters,
)
from pipelines.listening.making import sound, webmushra
from pipelines.listening.making.draw import Drawn, chosen_systems, draw, grouped, stretch
from pipelines.listening.making.sound import Samples
from pipelines.listening.options import ANCHORS, MakeOptions
from pipelines.system.streams import counted
from tokenizer.errors import OutputError, UsageError

ASSETS = ("style.css", "order.js", "player.js", "parts.js", "keep.js", "page.js")
_LOUDEST = 0.98
_MOST_GAIN_DB = 12.0
"""that a system is matched by: what is further off is hardly the same sound"""

Sink = Callable[[Screen, Mapping[str, Samples], int], None]


@dataclass(slots=True)
class _Levels:
    """What is said of levels once all are matched."""

    moved: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def matched(self, off: float, where: str) -> float:
        """Decibels to move a system by that is so many off its reference."""
        moved = max(-_MOST_GAIN_DB, min(_MOST_GAIN_DB, off))
        self.moved.append(abs(moved))
        if moved != off:
            self.notes.append(f"{where}: {off:.1f} dB off, and moved by {moved:g} dB")
        return moved


def make(evaluation: str, out: str, options: MakeOptions) -> Design:
    """Make a listening test of an evaluation's folder.

    Raises:
        UsageError: there is no evaluation, or nothing in it can be heard.
        OutputError: the folder holds something else, or ratings.
    """
    source, folder = local_folder(evaluation, "an evaluation"), local_folder(out, "a test")
    found = read_evaluation(source)
    points, without = chosen_systems(found, source, options)
    groups = grouped(points, options)
    drawn = draw(found, source, points, options)
    _require_free(folder)
    levels = _Levels()
    planned = _planned(drawn.excerpts, groups, options)
    fullest = max(groups, key=lambda kbps: len(groups[kbps]))
    training = _planned((drawn.spare,), {fullest: groups[fullest]}, options, TRAINING)[0]
    screens: list[Screen] = []
    shutil.rmtree(folder / PAGE, ignore_errors=True)
    shutil.rmtree(folder / WEBMUSHRA, ignore_errors=True)
    sinks: list[Sink] = [_page_sink(folder)]
    if options.webmushra:
        sinks.append(webmushra.sink(folder / WEBMUSHRA))
    rates = []
    everything = [*planned, training]
    what = f"making {printable_name(folder)}"
    for screen, excerpt in counted(everything, len(everything), what, quiet=options.quiet):
        done, audio, rate = _heard(screen, excerpt, source, options, levels)
        for sink in sinks:
            sink(done, audio, rate)
        screens.append(done)
        rates.append(rate)
    design = Design(
        id=_identity(screens, options),
        title=options.title,
        seed=options.seed,
        per_rater=min(options.screens, len(planned)),
        systems=points,
        screens=tuple(screens[:-1]),
        training=screens[-1],
        sample_rate=max(rates),
        facts=_facts(found, options, levels, drawn, without),
    )
    _write_page(folder, design, options)
    if options.webmushra:
        webmushra.write_config(folder / WEBMUSHRA, design)
    write_raters(folder, options.raters)
    write_json(folder / DESIGN, design.to_json())
    return design


def printable_name(folder: Path) -> str:
    """The last part of a folder's path."""
    return folder.resolve().name or str(folder)


def _require_free(folder: Path) -> None:
    """Refuse to replace what is not a test, or one that has been rated."""
    if any((folder / RATINGS).glob("*")):
        raise OutputError(
            f"{folder}: holds ratings of a test, which would be of another then: give a new folder"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DESIGN).is_file():
        if not (folder / PAGE / "index.html").is_file():
            raise OutputError(f"{folder}: holds other files: give a new folder")
    elif folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file: give a folder")


def _planned(
    excerpts: Sequence[Excerpt],
    groups: Mapping[float | None, Sequence[Point]],
    options: MakeOptions,
    name: str | None = None,
) -> list[tuple[Screen, Excerpt]]:
    """Screens before anything is cut, each with its excerpt."""
    planned: list[tuple[Screen, Excerpt]] = []
    for excerpt in excerpts:
        for kbps, points in groups.items():
            own = name or f"s{len(planned) + 1:03d}"
            systems = [
                REFERENCE,
                *(f"{ANCHOR}{anchor}" for anchor in options.anchors),
                *(point.name for point in points),
            ]
            stimuli = tuple(
                Stimulus(_opaque(options.seed, own, excerpt.name, system), system, 0.0)
                for system in systems
            )
            screen = Screen(own, excerpt.name, excerpt.domain, kbps, 0.0, 0.0, stimuli)
            planned.append((screen, excerpt))
    return planned


def _opaque(*parts: object) -> str:
    text = "|".join(map(str, parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def _heard(
    screen: Screen, excerpt: Excerpt, source: Path, options: MakeOptions, levels: _Levels
) -> tuple[Screen, dict[str, Samples], int]:
    """A screen with what is heard of each of its stimuli, by their ids."""
    whole, rate = _read(source, evaluations.REFERENCE, excerpt)
    first, count = stretch(excerpt, whole.shape[1], options)
    cut = slice(first, first + count)
    target = sound.loudness(whole[:, cut], rate)
    silent = target < sound.SILENT
    if silent:
        levels.notes.append(f"{screen.id}, {excerpt.name}: silent where it is heard")
    base = 0.0 if silent else options.loudness - target
    audio: dict[str, Samples] = {}
    gains: dict[str, float] = {}
    for stimulus in screen.stimuli:
        gain = base
        if stimulus.system == REFERENCE:
            heard = whole[:, cut]
        elif stimulus.system.startswith(ANCHOR):
            hertz = ANCHORS[stimulus.system.removeprefix(ANCHOR)]
            heard = _anchor(whole, rate, hertz, excerpt)[:, cut]
        else:
            heard = _read(source, stimulus.system, excerpt)[0][:, cut]
            if options.level_match and not silent:
                where = f"{screen.id}, {excerpt.name}, {stimulus.system}"
                gain += levels.matched(target - sound.loudness(heard, rate), where)
        gains[stimulus.id] = gain
        audio[stimulus.id] = sound.faded(heard, rate) * 10 ** (gain / 20)
    peak = max(float(np.abs(samples).max()) for samples in audio.values())
    down = min(0.0, 20 * math.log10(_LOUDEST / peak)) if peak > 0 else 0.0
    if down:
        levels.notes.append(f"{screen.id}, {excerpt.name}: {-down:.1f} dB quieter, not to clip")
    stimuli = tuple(
        Stimulus(one.id, one.system, round(gains[one.id] + down, 3)) for one in screen.stimuli
    )
    done = Screen(
        screen.id,
        screen.excerpt,
        screen.domain,
        screen.kbps,
        round(first / rate, 6),
        round(count / rate, 6),
        stimuli,
    )
    return done, {name: samples * 10 ** (down / 20) for name, samples in audio.items()}, rate


def _anchor(whole: Samples, rate: int, hertz: float, excerpt: Excerpt) -> Samples:
    if rate / 2 <= hertz + sound.TRANSITION_HZ:
        raise UsageError(
            f"--anchors {hertz / 1000:g}: {excerpt.name} is at {rate} Hz, and has nothing above"
        )
    return sound.low_pass(whole, rate, hertz)


def _read(source: Path, system: str, excerpt: Excerpt) -> tuple[Samples, int]:
    samples, rate = read_audio_file(evaluations.audio_path(source, system, excerpt.name))
    if not np.isfinite(samples).all():
        raise UsageError(f"{system}, {excerpt.name}: samples that are no numbers")
    return samples.astype(np.float64), rate


def _page_sink(folder: Path) -> Sink:
    """Writes a screen's audio as a script: a page that is opened from a file may fetch nothing."""

    def write(screen: Screen, audio: Mapping[str, Samples], rate: int) -> None:
        value = {
            name: base64.b64encode(sound.encoded(samples, rate, "FLAC")).decode()
            for name, samples in sorted(audio.items())
        }
        text = f'LOADED("{screen.id}", {json.dumps(value, separators=(",", ":"))});\n'
        write_file(folder / PAGE / "audio" / f"{screen.id}.js", text.encode())

    return write


def _write_page(folder: Path, design: Design, options: MakeOptions) -> None:
    data = {
        "id": design.id,
        "title": design.title,
        "contact": options.contact,
        "seed": design.seed,
        "per_rater": design.per_rater,
        "sample_rate": design.sample_rate,
        "screens": {
            one.id: {
                "seconds": one.seconds,
                "reference": one.reference,
                "stimuli": sorted(stimulus.id for stimulus in one.stimuli),
            }
            for one in (*design.screens, design.training)
        },
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    write_file(folder / PAGE / "test.js", f"window.TEST = {text};\n".encode())
    write_file(folder / PAGE / "server.js", b"window.SERVED = false;\n")
    for name in (*ASSETS, "index.html"):
        content = files("pipelines.listening").joinpath("assets", name).read_bytes()
        write_file(folder / PAGE / name, content)


def _identity(screens: Sequence[Screen], options: MakeOptions) -> str:
    text = json.dumps([[asdict(one) for one in screens], options.seed, options.screens])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _facts(
    evaluation: Evaluation,
    options: MakeOptions,
    levels: _Levels,
    drawn: Drawn,
    without: Sequence[str],
) -> dict[str, Any]:
    said = f"each reference at {options.loudness:g} LUFS (BS.1770, without its gate)"
    if options.level_match:
        most, mean = max(levels.moved, default=0.0), float(np.mean(levels.moved or [0.0]))
        said += (
            f"; systems matched to their reference's loudness: by {mean:.2f} dB in the mean, "
            f"{most:.2f} dB at most ({_MOST_GAIN_DB:g} dB is the limit); anchors are filtered "
            "references, and not matched"
        )
    else:
        said += "; systems as loud as they made it"
    return {
        "options": json.loads(json.dumps(asdict(options))),
        "evaluation_seed": evaluation.seed,
        "levels": said,
        "notes": levels.notes,
        "left_out": dict(drawn.left_out),
        "short_of": dict(drawn.short_of),
        "without_audio": list(without),
    }
