"""A real browser for tests of pages."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from typing import Any

from needs import lacking

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def headless_chromium() -> Iterator[Any]:
    """A driver of Chromium without a window; the test is skipped where there is none."""
    try:
        webdriver = importlib.import_module("selenium.webdriver")
    except ImportError:
        lacking("selenium is not installed: pip install '.[browser]'", "CODECSHARDS_EXPECT_BROWSER")
    driver_path = shutil.which("chromedriver")
    if CHROMIUM is None or driver_path is None:
        missing = (
            "no Chromium with its driver on this machine: apt-get install chromium chromium-driver"
        )
        lacking(missing, "CODECSHARDS_EXPECT_BROWSER")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
        "--mute-audio",
    ):
        options.add_argument(argument)
    options.add_argument("--window-size=1300,1000")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver_path)
    )
    try:
        yield driver
    finally:
        driver.quit()


def opened(chromium: Any, address: str) -> Iterator[Any]:
    """The page at 1300 pixels; nothing may be logged as an error until the test ends."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.set_window_size(1300, 1000)
    chromium.get(address)
    yield chromium
    severe = [
        entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"
    ]
    assert severe == []
