"""How large an audit's page is, and how long a browser takes to open it.

    python benchmarks/audit_page.py [--recordings 100] [--seconds 30]

Makes a synthetic corpus, tokenizes it with the weight-free codec, audits all of it, and opens the page from its file in a
headless Chromium, three times. Needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from selenium import webdriver

from pipelines import AuditOptions, audit
from pipelines.config import RunOptions, TokenizeConfig
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
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=shutil.which("chromedriver")))
    try:
        driver.get(page.as_uri())
        assert driver.execute_script("return document.querySelectorAll('#table tbody tr').length") > 0
        entry = "performance.getEntriesByType('navigation')[0]"
        return float(driver.execute_script(f"return {entry}.loadEventEnd - {entry}.startTime")) / 1000
    finally:
        driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root / "corpus", asked.recordings, asked.seconds)
        out = str(root / "out")
        tokenize_corpus(TokenizeConfig(str(root / "corpus"), codec="mulaw", bandwidth=12.0), out, RunOptions(quiet=True))
        audit(out, options=AuditOptions(all=True, quiet=True, workers=None))
        size = sum(path.stat().st_size for path in (root / "out" / "audit").rglob("*") if path.is_file())
        times = sorted(opening_seconds(root / "out" / "audit" / "index.html") for _ in range(3))
    print("| recordings | seconds each | page with media | opens in (median of 3) |\n|---|---|---|---|")
    print(f"| {asked.recordings} | {asked.seconds:g} | {size / 1e6:.1f} MB | {times[1]:.2f} s |")


if __name__ == "__main__":
    main()
