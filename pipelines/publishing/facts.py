"""What a card says of a corpus beside its codes: languages, texts and speakers, and an audit."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipelines.output.manifest.reading import StoredManifest
from pipelines.output.manifest.since import changes_since
from pipelines.output.rows import Rows
from pipelines.system.words import many

_CODE = re.compile(r"[a-z]{2,3}")
"""a language as the Hub knows it: ISO 639"""
_REPORT = "audit/report.json"


@dataclass(slots=True)
class Spoken:
    """Sums over the rows."""

    rows: int = 0
    with_text: int = 0
    with_speaker: int = 0
    speakers: set[str] = field(default_factory=set)
    said: Counter[str] = field(default_factory=Counter)
    """rows by language"""

    @property
    def languages(self) -> list[str]:
        """Those that the Hub knows by such a code, the most frequent first."""
        codes = (
            name.lower().replace("_", "-").split("-")[0] for name, _ in self.said.most_common()
        )
        return list(dict.fromkeys(code for code in codes if _CODE.fullmatch(code)))

    def lines(self) -> dict[str, str]:
        """For a table of properties."""
        found = {"text": self._share(self.with_text)}
        if self.with_speaker:
            found["speakers"] = f"{len(self.speakers):,}; {self._share(self.with_speaker)}"
        if self.said:
            found["languages"] = ", ".join(
                f"{name} ({count:,})" for name, count in self.said.most_common(12)
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Both."""
        return {"languages": self.languages, "lines": self.lines()}

    def _share(self, count: int) -> str:
        if not count or not self.rows:
            return "none"
        return f"{count:,} of {many(self.rows, 'recording')} ({100 * count / self.rows:.0f}%)"


def spoken(out: str) -> Spoken:
    """Who says what in an output folder, in one pass over its columns."""
    found = Spoken()
    for row in Rows(out).rows(["text", "speaker", "language"]):
        found.rows += 1
        found.with_text += bool(row["text"] and row["text"].strip())
        if row["speaker"]:
            found.with_speaker += 1
            found.speakers.add(row["speaker"])
        if row["language"]:
            found.said[row["language"]] += 1
    return found


def audit_figures(manifest: StoredManifest) -> str | None:
    """What the last audit found, in a line; None where there was none."""
    try:
        report = json.loads(manifest.storage.read(_REPORT))
        audited, passed = report["audited"], report["passed"]
        findings = len(report["findings"])
        line = f"{many(audited['recordings'], 'recording')} decoded"
        if audited["compared"]:
            line += f", {audited['compared']:,} compared with their sources"
        since = changes_since(manifest, report["state"]) if "state" in report else ""
        line += f": {'passed' if passed else 'not passed'}, {many(findings, 'finding')}"
        return line + (f" (the data were {since})" if since else "")
    except (OSError, ValueError, KeyError, TypeError):
        return None
