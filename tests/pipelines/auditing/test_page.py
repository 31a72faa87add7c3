"""The page in a real browser: it plays, switching keeps the position, sorting sorts, nothing is logged as an error."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rewriting import rewrite, with_codes
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 20.0
NO_VALUE = "\N{EN DASH}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of six recordings, one of them faulty, one with a name that would be markup."""
    root = tmp_path_factory.mktemp("page")
    (root / "corpus").mkdir()
    for number, name in enumerate(["a.wav", "b.wav", "c <b>&.wav", "d.wav", "e.wav"]):
        soundfile.write(root / "corpus" / name, sound(48_000 * (3 + number), seed=number).samples.T, 48_000)
    soundfile.write(root / "corpus" / "silent.wav", np.zeros((48_000, 2)), 48_000)
    out = root / "out"
    tokenize_corpus(
        TokenizeConfig(str(root / "corpus"), codec="mulaw", bandwidth=12.0), str(out), RunOptions(workers=0, quiet=True)
    )

    def zero(values: np.ndarray) -> None:
        values[:, 450:600] = 0

    rewrite(out, "d.wav", lambda codes: with_codes(codes, zero))
    audit(str(out), options=AuditOptions(all=True, reencode=True, quiet=True))
    return out / "audit" / "index.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'codecshards[browser]'")
    driver_path = shutil.which("chromedriver")
    if CHROMIUM is None or driver_path is None:
        pytest.skip("no Chromium with its driver on this machine: apt-get install chromium chromium-driver")
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
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver_path))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(chromium: Any, page: Path) -> Iterator[Any]:
    chromium.set_window_size(1300, 1000)
    chromium.get(page.as_uri())
    yield chromium
    severe = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def until(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.05)


def run(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


def cells(browser: Any, column: int) -> list[str]:
    return run(browser, f"[...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[{column}].textContent)")


def press(browser: Any, key: str) -> None:
    browser.find_element("tag name", "body").send_keys(key)


def test_it_opens_on_the_faulty_recording_and_says_what_is_wrong(browser: Any) -> None:
    assert browser.find_element("id", "verdict").text == "failed"
    detail = browser.find_element("id", "detail").text
    assert detail.startswith("d.wav") and "zeroed chunk: one code throughout in chunk 3" in detail
    assert "zeroed chunk" in browser.find_element("id", "noticed").text


def test_nothing_comes_from_a_network(page: Path) -> None:
    for name in ("index.html", "style.css", "plots.js", "player.js", "page.js"):
        text = (page.parent / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text


def test_names_are_text_and_not_markup(browser: Any) -> None:
    assert "c <b>&.wav" in cells(browser, 0)


def test_audio_plays_and_moves_on_and_switching_keeps_the_position(browser: Any) -> None:
    press(browser, " ")
    until(lambda: run(browser, "auditPage.player.time") > 0.4)
    before = run(browser, "auditPage.player.time")
    press(browser, "3")
    assert run(browser, "auditPage.player.current") == 2
    after = run(browser, "auditPage.player.time")
    assert before - 0.1 <= after <= before + 2
    until(lambda: run(browser, "auditPage.player.time") > after + 0.3)
    assert run(browser, "auditPage.player.audio.filter((audio) => !audio.paused).length") == 1
    press(browser, " ")
    assert not run(browser, "auditPage.player.playing")


def test_every_version_is_there_and_as_long_as_the_source(browser: Any) -> None:
    assert [button.text for button in browser.find_elements("css selector", ".version")] == [
        "source",
        "3 kbps",
        "6 kbps",
        "12 kbps",
    ]
    until(lambda: all(run(browser, "auditPage.player.audio.map((audio) => audio.readyState >= 1)")))
    assert run(browser, "auditPage.player.audio.map((audio) => audio.duration)") == pytest.approx([6.0] * 4, abs=0.05)


def test_the_worst_chunk_is_marked_and_heard(browser: Any) -> None:
    until(lambda: run(browser, "auditPage.player.now.readyState") >= 1)
    browser.find_element("id", "worst").click()
    until(lambda: run(browser, "auditPage.player.playing"))
    assert run(browser, "auditPage.player.time") >= 3 * 0.99 - 0.3
    assert len(browser.find_elements("css selector", ".track .worst")) >= 4


def test_a_click_on_a_picture_seeks_there(browser: Any) -> None:
    until(lambda: run(browser, "auditPage.player.now.readyState") >= 1)
    browser.find_element("css selector", ".track canvas").click()  # its middle
    until(lambda: abs(run(browser, "auditPage.player.time") - 3.0) < 0.1)


def test_sorting_sorts_worst_first_and_turns_round(browser: Any) -> None:
    heading = next(b for b in browser.find_elements("css selector", "th button") if b.text == "si-snr")
    heading.click()
    values = [float(text) for text in cells(browser, 3) if text != NO_VALUE]
    assert values == sorted(values) and cells(browser, 3)[-1] == NO_VALUE
    heading.click()
    assert [float(text) for text in cells(browser, 3) if text != NO_VALUE] == values[::-1]
    assert cells(browser, 3)[-1] == NO_VALUE  # what has no value stays last


def test_filtering_by_word_and_by_severity(browser: Any) -> None:
    browser.find_element("id", "filter").send_keys("silence")
    assert cells(browser, 0) == ["silent.wav"]
    browser.find_element("id", "filter").clear()
    browser.find_element("css selector", "#show option[value=error]").click()
    assert cells(browser, 0) == ["d.wav"]


def test_keys_move_through_the_table(browser: Any) -> None:
    press(browser, "j")
    assert browser.find_element("css selector", "#detail h3").text == "e.wav"
    press(browser, "k")
    assert browser.find_element("css selector", "#detail h3").text == "d.wav"
    press(browser, "/")
    assert run(browser, "document.activeElement.id") == "filter"


def test_spectrograms_are_images(browser: Any) -> None:
    ready = "[...document.querySelectorAll('#detail img')].map((image) => image.complete && image.naturalWidth > 100)"
    until(lambda: run(browser, ready) == [True] * 3)


def test_a_silent_recording_says_not_applicable(browser: Any) -> None:
    browser.find_element("id", "filter").send_keys("silent.wav")
    browser.find_element("css selector", "#table tbody tr").click()
    assert "not applicable: the source is silent" in browser.find_element("id", "detail").text


def test_a_small_screen_does_not_scroll_sideways(browser: Any) -> None:
    browser.set_window_size(500, 900)
    until(lambda: run(browser, "window.innerWidth") < 900)
    assert run(browser, "document.documentElement.scrollWidth <= window.innerWidth")
    player, table = (
        run(browser, f"document.querySelector('{name}').getBoundingClientRect().top") for name in ("#detail", ".table")
    )
    assert player < table
