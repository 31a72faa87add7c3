"""An audit as a notebook shows it: players and spectrograms, inlined, since a notebook cannot read
files beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines.auditing.measure.registry import MEASURES
from pipelines.auditing.page.site import media, worst_first
from pipelines.auditing.places import AUDIT
from pipelines.auditing.results import RecordingAudit
from pipelines.output.storage import Storage, open_storage
from pipelines.system.words import fixed

MOST = 12
"""recordings that are shown"""
MOST_BYTES = 16_000_000
"""of their files, which grow by a third in a notebook; at least one recording is shown whatever its
size"""
MOST_TEXT = 5_000
"""characters of a transcript that are shown"""
_ROW = "display: flex; flex-wrap: wrap; gap: 4px 12px; margin-bottom: 6px"
_TYPES = {"flac": "audio/flac", "ogg": "audio/ogg", "png": "image/png"}


def to_html(out: str, report: Mapping[str, Any], recordings: Sequence[RecordingAudit]) -> str:
    """The summary and the first recordings, the worst before the others."""
    storage = open_storage(out)
    parts = [
        f"<h3>Audit of {escape(out)}: {'passed' if report['passed'] else 'failed'}</h3>",
        "<ul>",
    ]
    for metric, spread in report["figures"].items():
        if "mean" in spread:
            parts.append(
                f"<li>{metric}: median {_number(metric, spread['median'])}, worst "
                f"{_number(metric, spread['worst'])}</li>"
            )
    parts.append("</ul>")
    shown = _shown(storage, worst_first(recordings))
    parts += [_recording(storage, recording) for recording in shown]
    if len(recordings) > len(shown):
        parts.append(
            f"<p>{len(recordings) - len(shown)} more are on the page, "
            f"{escape(out)}/audit/index.html</p>"
        )
    return "\n".join(parts)


def _shown(storage: Storage, recordings: Sequence[RecordingAudit]) -> list[RecordingAudit]:
    """The first ones, as many as there is room for."""
    left = MOST_BYTES
    shown: list[RecordingAudit] = []
    for recording in recordings[:MOST]:
        left -= sum(storage.size(f"{AUDIT}/{name}") for name in media(recording.page))
        if left < 0 and shown:
            break
        shown.append(recording)
    return shown


def _recording(storage: Storage, recording: RecordingAudit) -> str:
    figures = [
        f"{name} not applicable ({figure.reason})"
        if figure.value is None
        else f"{name} {_number(name, figure.value)}"
        for name, figure in recording.figures.items()
    ]
    lines = [f"<h4>{escape(recording.id)}</h4>", f"<p>{escape(', '.join(figures))}</p>"]
    lines += _spoken(recording)
    lines += [
        f"<p><b>{escape(finding.name)}</b>: {escape(finding.detail)}</p>"
        for finding in recording.findings
    ]
    if recording.page is not None:
        players = [_player(storage, version) for version in recording.page["versions"]]
        files = recording.page["images"]
        images = [
            _image(storage, name, files[name])
            for name in ("source", "decoded", "difference")
            if name in files
        ]
        lines += [f'<div style="{_ROW}">{"".join(row)}</div>' for row in (players, images)]
    return "\n".join(lines)


def _spoken(recording: RecordingAudit) -> list[str]:
    """Who speaks, in what language, and what."""
    facts = [
        f"{name} {value}" for name in ("speaker", "language") if (value := getattr(recording, name))
    ]
    lines = [f'<p dir="auto">{escape(", ".join(facts))}</p>'] if facts else []
    if recording.text:
        text = (
            recording.text
            if len(recording.text) <= MOST_TEXT
            else f"{recording.text[:MOST_TEXT]} …"
        )
        lines.append(
            '<p dir="auto" style="max-height: 8em; overflow: auto; white-space: '
            f'pre-wrap">{escape(text)}</p>'
        )
    return lines


def _player(storage: Storage, version: Mapping[str, str]) -> str:
    source = _inline(storage, version["file"])
    title = escape(f"{version['name']} ({version['format']})")
    return f'<div>{title}<br><audio controls preload="none" src="{source}"></audio></div>'


def _image(storage: Storage, name: str, file: str) -> str:
    image = f'<img width="320" height="96" alt="{escape(name)}" src="{_inline(storage, file)}">'
    return f"<div>{escape(name)}<br>{image}</div>"


def _inline(storage: Storage, name: str) -> str:
    kind = _TYPES[name.rsplit(".", 1)[1]]
    return f"data:{kind};base64,{base64.b64encode(storage.read(f'{AUDIT}/{name}')).decode()}"


def _number(metric: str, value: float) -> str:
    return f"{fixed(value, 2)} {MEASURES[metric].unit}".strip()
