"""Which excerpts are heard, which stretch of each, and which systems share a screen."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from pipelines.evaluating.folder import AUDIO, REFERENCE, Evaluation, Excerpt, audio_path
from pipelines.listening.folder import Point, names_of
from pipelines.listening.options import LEAST_SECONDS, MOST_SIGNALS, MakeOptions
from tokenizer.errors import UsageError


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a test is made of."""

    excerpts: tuple[Excerpt, ...]
    spare: Excerpt
    """for the training; one of the others where there is no more"""
    left_out: Mapping[str, str]
    """excerpts that cannot be heard, and why"""
    short_of: Mapping[str, int]
    """categories with fewer than was asked for, and how many they have"""


def chosen_systems(
    evaluation: Evaluation, folder: Path, options: MakeOptions
) -> tuple[tuple[Point, ...], tuple[str, ...]]:
    """The points of the evaluation that are listened to, and the names of those with audio of less
    than half of the excerpts that another has: a baseline has none at a bitrate that it does not
    come to, and would take the excerpts with it.

    Raises:
        UsageError: there is none, or none of a name.
    """
    points = tuple(
        Point(one.name, one.system, one.kbps, one.measured_kbps) for one in evaluation.systems
    )
    known = {point.name for point in points} | {point.system for point in points}
    for name in options.systems:
        if name not in known:
            raise UsageError(f"--systems {name}: the evaluation has {names_of(points)}")
    if options.systems:
        points = tuple(p for p in points if {p.name, p.system} & set(options.systems))
    counts = {p.name: len(list((folder / AUDIO / p.name).glob("*.flac"))) for p in points}
    most = max(counts.values(), default=0)
    heard = tuple(p for p in points if most and 2 * counts[p.name] >= most)
    if not heard:
        raise UsageError(
            f"{folder}: no audio of a system there ({names_of(points) or 'none'}): run "
            "`codecshards evaluate` to its end"
        )
    return heard, tuple(point.name for point in points if point not in heard)


def grouped(points: Sequence[Point], options: MakeOptions) -> dict[float | None, tuple[Point, ...]]:
    """Systems by the screen that they are on: all on one, or, where they are too many, those of
    each bitrate.

    Raises:
        UsageError: one bitrate has too many.
    """
    most = MOST_SIGNALS - 1 - len(options.anchors)
    if len(points) <= most:
        return {None: tuple(points)}
    groups: dict[float | None, tuple[Point, ...]] = {
        kbps: tuple(point for point in points if point.kbps == kbps)
        for kbps in sorted({point.kbps for point in points})
    }
    for kbps, own in groups.items():
        if len(own) > most:
            raise UsageError(
                f"{len(own)} systems at {kbps:g} kbps, and a screen holds {most}: choose some with "
                "--systems"
            )
    return groups


def draw(
    evaluation: Evaluation, folder: Path, points: Sequence[Point], options: MakeOptions
) -> Drawn:
    """Draw excerpts of each category.

    Raises:
        UsageError: none can be heard.
    """
    found: list[Excerpt] = []
    rest: list[Excerpt] = []
    left_out: dict[str, str] = {}
    short_of: dict[str, int] = {}
    for domain in sorted({one.domain for one in evaluation.excerpts}):
        own = sorted(
            (one for one in evaluation.excerpts if one.domain == domain), key=lambda one: one.name
        )
        random.Random(f"{options.seed}|{domain}").shuffle(own)
        usable: list[Excerpt] = []
        for excerpt in own:
            if len(usable) > options.excerpts:  # and one for the training
                break
            reason = _unusable(folder, excerpt, points)
            if reason is None:
                usable.append(excerpt)
            else:
                left_out[excerpt.name] = reason
        found += usable[: options.excerpts]
        rest += usable[options.excerpts :]
        if len(usable) < options.excerpts:
            short_of[domain] = len(usable)
    if not found:
        why = next(iter(left_out.values()), "the evaluation has none")
        raise UsageError(f"{folder}: no excerpt can be heard: {why}")
    return Drawn(tuple(found), rest[0] if rest else found[0], left_out, short_of)


def stretch(excerpt: Excerpt, samples: int, options: MakeOptions) -> tuple[int, int]:
    """First sample and number of samples that are heard of an excerpt."""
    wanted = min(samples, round(options.seconds * excerpt.sample_rate))
    place = random.Random(f"{options.seed}|{excerpt.name}").random()
    return int(place * (samples - wanted + 1)), wanted


def _unusable(folder: Path, excerpt: Excerpt, points: Sequence[Point]) -> str | None:
    """Why an excerpt cannot be heard; None where it can."""
    if not excerpt.name or set(excerpt.name) & set("/\\\0") or excerpt.name.startswith("."):
        return f"{excerpt.name!r} is no name of a file"
    wanted = None
    for system in (REFERENCE, *(point.name for point in points)):
        path = audio_path(folder, system, excerpt.name)
        if not path.is_file():
            leave = "" if system == REFERENCE else f", or leave {system} out with --systems"
            return f"{path} is not there: run `codecshards evaluate` again{leave}"
        try:
            info = soundfile.info(path)
        except (OSError, RuntimeError) as error:
            return f"{path} cannot be read ({error})"
        has = (info.frames, info.channels, info.samplerate)
        if wanted is None:
            wanted = has
            if info.frames < LEAST_SECONDS * info.samplerate:
                return f"{path} is shorter than {LEAST_SECONDS:g} s"
            if info.channels > 2 or info.samplerate < 8000:
                return f"{path} has {info.channels} channels at {info.samplerate} Hz"
        if has != wanted:
            return f"{path} has other samples, channels or rate than its reference: {has}, {wanted}"
    return None
