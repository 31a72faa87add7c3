"""How large an audit's page is, and how long a browser takes to open it.

    python -m benchmarks.audit_page [--recordings 100] [--seconds 30] [--rows 10000]

Makes a synthetic corpus, tokenizes it with the weight-free codec, audits all of it, and opens the
page from its file in a headless Chromium, three times; then a page of as many rows, 100 of which
have sound: those results, again and again under other names. Needs selenium, chromium and
chromedriver.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from selenium import webdriver

from pipelines import AuditOptions, audit
from pipelines.auditing.page.site import write_site
from pipelines.auditing.results import RecordingAudit
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.output.storage import open_storage
from pipelines.run import tokenize_corpus


def write_corpus(folder: Path, recordings: int, seconds: float) -> None:
    """Tones that come and go over noise: neither the worst nor the best case for FLAC and Opus."""
    folder.mkdir()
    time = np.arange(int(seconds * 48_000)) / 48_000
    for number in range(recordings):
        noise = np.random.default_rng(number).standard_normal((len(time), 2)) * 0.02
        tone = 0.2 * np.sin(2 * np.pi * (110 + 7 * number) * time) * np.sin(np.pi * time) ** 2
        soundfile.write(folder / f"{number:04}.flac", noise + tone[:, None], 48_000)


def opening_seconds(page: Path) -> float:
    """From asking for the page until its load event has ended and its table is there."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(
        options=options,
        service=webdriver.ChromeService(executable_path=shutil.which("chromedriver")),
    )
    try:
        driver.get(page.as_uri())
        assert (
            driver.execute_script("return document.querySelectorAll('#table tbody tr').length") > 0
        )
        entry = "performance.getEntriesByType('navigation')[0]"
        return (
            float(driver.execute_script(f"return {entry}.loadEventEnd - {entry}.startTime")) / 1000
        )
    finally:
        driver.quit()


def repeated(recordings: Sequence[RecordingAudit], rows: int) -> list[RecordingAudit]:
    """As many results, with sound for the first ones."""
    copies = [
        replace(recordings[i % len(recordings)], id=f"again/{i:06}.flac", page=None)
        for i in range(len(recordings), rows)
    ]
    return [*recordings, *copies]


def line(audit_folder: Path, rows: int, seconds: float) -> str:
    """A row of the table."""
    size = sum(path.stat().st_size for path in audit_folder.rglob("*") if path.is_file())
    data = (audit_folder / "data.js").stat().st_size
    times = sorted(opening_seconds(audit_folder / "index.html") for _ in range(3))
    return (
        f"| {rows:,} | {seconds:g} | {size / 1e6:.1f} MB | {data / 1e6:.2f} MB | {times[1]:.2f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rows", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root / "corpus", asked.recordings, asked.seconds)
        out = str(root / "out")
        tokenize_corpus(
            TokenizeConfig(str(root / "corpus"), codec="mulaw", bandwidth=24.0),
            out,
            RunOptions(quiet=True),
        )
        done = audit(out, options=AuditOptions(all=True, quiet=True, workers=None))
        lines = [line(root / "out" / "audit", asked.recordings, asked.seconds)]
        versions = next(
            recording.page["versions"] for recording in done.recordings if recording.page
        )
        clip = next(recording.page["seconds"] for recording in done.recordings if recording.page)
        write_site(open_storage(out), done.report, repeated(done.recordings, asked.rows))
        lines.append(line(root / "out" / "audit", asked.rows, asked.seconds))
    print(
        "| recordings | seconds each | page with media | its data | opens in (median of 3) |\n"
        "|---|---|---|---|---|"
    )
    print("\n".join(lines))
    print(
        f"\nClips of {clip:.1f} s: "
        + "; ".join(f"{version['name']}: {version['format']}" for version in versions)
        + "."
    )


if __name__ == "__main__":
    main()
