"""The page in a real browser: it plays, switches at one position, keeps what was done, sends it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import opened

from pipelines.listening.analysing.analyse import analyse
from pipelines.listening.folder import Design, read_tokens
from pipelines.listening.making.make import make
from pipelines.listening.options import AnalyseOptions, MakeOptions, ServeOptions
from pipelines.listening.order import screens_of, stimuli_of
from pipelines.listening.serving.server import Server, in_thread, start

PATIENCE = 20.0
QUALITY = {"reference": 100, "good-6": 82, "fair-6": 61, "poor-3": 33, "anchor-3.5": 12}


@pytest.fixture(scope="module")
def test(evaluation: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Design]:
    folder = tmp_path_factory.mktemp("listening") / "test"
    options = MakeOptions(
        excerpts=2,
        seconds=1.0,
        screens=3,
        raters=6,
        title="Codecs <b>&",
        contact="a@b.example",
        quiet=True,
    )
    return folder, make(str(evaluation), str(folder), options)


@pytest.fixture(scope="module")
def server(test: tuple[Path, Design]) -> Iterator[Server]:
    server = start(str(test[0]), ServeOptions(port=0, quiet=True))
    thread = in_thread(server)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    server.listening.store.close()


@pytest.fixture
def page(chromium: Any, test: tuple[Path, Design]) -> Iterator[Any]:
    """From a file, with nothing kept."""
    address = (test[0] / "page" / "index.html").as_uri()
    chromium.get(address)
    chromium.execute_script("localStorage.clear()")
    yield from opened(chromium, address)


def wait(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def one(browser: Any, selector: str) -> Any:
    return wait(lambda: browser.find_elements("css selector", selector))[0]


def click(browser: Any, selector: str) -> None:
    one(browser, selector).click()


def keys(browser: Any, *pressed: str) -> None:
    for key in pressed:
        browser.switch_to.active_element.send_keys(key)


def state(browser: Any) -> dict[str, Any]:
    found: dict[str, Any] = browser.execute_script("return KEEP.state")
    return found


def said(browser: Any) -> str:
    return str(one(browser, "#said").text)


def at_screen(browser: Any, words: str) -> None:
    """Wait until a screen is there, with its sounds."""
    wait(
        lambda: (
            words in browser.find_element("id", "step").text
            and browser.find_elements("css selector", ".board")
        )
    )


def enter(browser: Any, name: str = "anna") -> None:
    """As far as the practice screen."""
    one(browser, "#who").send_keys(name)
    click(browser, "#next")
    click(browser, "#next")
    assert "what you listen with" in said(browser)
    click(browser, "#device option:nth-child(2)")
    click(browser, "#next")
    at_screen(browser, "Practice")


def rate_all(browser: Any, design: Design, quality: dict[str, int] = QUALITY) -> None:
    """Hear each stimulus for long enough, by its key, and rate it."""
    order = browser.execute_script("Board.HEARD = 0.02; return BOARD.order")
    letters = {name: chr(97 + i) for i, name in enumerate(order)}
    systems = {s.id: s.system for one in (*design.screens, design.training) for s in one.stimuli}
    for name, letter in letters.items():
        keys(browser, letter)
        wait(lambda name=name: name in browser.execute_script("return BOARD.kept.heard"))
        browser.execute_script(
            "const slider = BOARD.rows[arguments[0]].slider; slider.value = arguments[1];"
            "slider.dispatchEvent(new Event('input'))",
            name,
            quality[systems[name]],
        )


def walk(browser: Any, design: Design) -> None:
    """From the practice screen to the end."""
    rate_all(browser, design)
    click(browser, "#next")
    assert "is the reference itself; you gave it 100" in said(browser)
    click(browser, "#next")
    for number in range(3):
        at_screen(browser, f"Screen {number + 1} of 3")
        rate_all(browser, design)
        click(browser, "#next")
    wait(lambda: browser.find_element("id", "step").text == "Done")


def test_switching_has_no_gap_and_keeps_the_position(page: Any) -> None:
    """The player renders into samples: constants, so that every sample says what is heard."""
    script = """
    const done = arguments[0], rate = 8000;
    (async () => {
      const context = new OfflineAudioContext(1, 4 * rate, rate), buffers = {};
      for (const [name, level] of [["a", 0.25], ["b", 0.75]]) {
        buffers[name] = context.createBuffer(1, rate, rate);
        const data = buffers[name].getChannelData(0);
        for (let i = 0; i < rate; i += 1) data[i] = level + i / rate / 8;
      }
      const player = new Player(context, buffers, "a"), places = [];
      const at = async (when, act) => {
        await context.suspend(when);
        act();
        places.push(player.position);
        context.resume();
      };
      player.play();
      at(0.5, () => player.use("b"));
      at(1.75, () => player.use("a"));
      at(2.25, () => player.loop(0.25, 0.75));
      at(3.5, () => player.stop());
      const sound = (await context.startRendering()).getChannelData(0);
      let text = "";
      for (const byte of new Uint8Array(sound.buffer)) text += String.fromCharCode(byte);
      done([btoa(text), places]);
    })();
    """
    encoded, places = page.execute_async_script(script)
    sound, rate = np.frombuffer(base64.b64decode(encoded), np.float32), 8000
    start = np.flatnonzero(sound)[0]
    assert start / rate == pytest.approx(0.03, abs=0.001)
    ramp = (np.arange(4 * rate) - start) % rate / rate / 8  # where both play, in turns of a second
    level = np.where(np.arange(4 * rate) < 0.5 * rate, 0.25, 0.75)
    level = np.where(np.arange(4 * rate) < 1.75 * rate, level, 0.25)
    steady = np.ones(4 * rate, bool)
    for switch in (0.5, 1.75):
        steady[round(switch * rate) - 130 : round(switch * rate) + 200] = False
    steady[: start + 2] = steady[round(2.24 * rate) :] = False
    assert np.abs(sound - level - ramp)[steady].max() < 1e-3
    # Over a switch the level goes from one to the other and nowhere else.
    over = sound[round(0.5 * rate) : round(0.52 * rate)]
    assert over.min() > 0.24 and np.diff(over).min() > -1e-3 and np.diff(over).max() < 0.02
    # A loop of half a second: what is heard comes again after it, and after the stop there is none.
    a, b = round(2.4 * rate), round(2.9 * rate)
    assert np.abs(sound[a : a + 3000] - sound[b : b + 3000]).max() < 1e-3
    assert not sound[round(3.55 * rate) :].any()
    assert places[:2] == pytest.approx([0.47, 0.72], abs=0.02)


def test_a_whole_test_from_a_file(page: Any, test: tuple[Path, Design], tmp_path: Path) -> None:
    folder, design = test
    assert page.title == "Codecs <b>&" and one(page, "h1").text == "Codecs <b>&"
    enter(page)
    walk(page, design)
    assert "a@b.example" in one(page, "main").text
    click(page, "summary")
    text = one(page, "#result").get_property("value")
    values = json.loads(text)
    assert values["device"] == "headphones" and len(values["screens"]) == 4
    own = screens_of([screen.id for screen in design.screens], design.seed, "anna", 3)
    assert set(values["screens"]) == {*own, "training"}
    page.execute_cdp_cmd(
        "Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    click(page, "#next")
    saved = wait(lambda: list(tmp_path.glob("ratings-*-anna.json")))[0]
    wait(lambda: saved.read_text().endswith("}"))
    assert json.loads(saved.read_text()) == values
    done = analyse(str(folder), [str(saved)], AnalyseOptions())
    assert {line.name: line.mean.value for line in done.lines if line.domain == "all"} == QUALITY


def test_the_position_goes_on_while_versions_change(page: Any) -> None:
    enter(page)
    assert page.execute_script("return BOARD.player.playing") is False
    click(page, "#reference")
    wait(lambda: page.execute_script("return BOARD.player.position") > 0.2)
    script = "BOARD.choose(BOARD.order[1]); return [BOARD.player.position, BOARD.player.current]"
    before = page.execute_script("return BOARD.player.begun")
    position, current = page.execute_script(script)
    assert position > 0.2 and current == page.execute_script("return BOARD.order[1]")
    assert page.execute_script("return BOARD.player.begun") == before  # nothing began anew
    gains = page.execute_script(
        "return new Promise((done) => setTimeout(() => done(Object.entries(BOARD.player.voices)"
        ".map(([name, voice]) => [name, voice.gain.gain.value])), 100))"
    )
    assert sorted(round(value, 3) for _, value in gains) == [0, 0, 0, 0, 1]
    wait(lambda: page.execute_script("return BOARD.player.position") < 0.2)  # it loops
    pressed = page.find_elements("css selector", ".stimulus[aria-pressed=true]")
    assert [element.text[0] for element in pressed] == ["B"]


def test_orders_are_those_that_python_computes(page: Any) -> None:
    names = [f"s{n:03d}" for n in range(1, 41)]
    for rater in ("1", "2", "17", "0", "anna", "Ünï 😀", "123456789", "1234567890123"):
        found = page.execute_script("return Order.screens(...arguments)", names, 5, rater, 7)
        assert found == screens_of(names, 5, rater, 7), rater
        shown = page.execute_script("return Order.stimuli(...arguments)", names, 5, rater, "s001")
        assert shown == stimuli_of(names, 5, rater, "s001")


NONE = "\N{EN DASH}"


def test_a_reload_loses_nothing(page: Any, test: tuple[Path, Design]) -> None:
    _, design = test
    enter(page)
    rate_all(page, design)
    click(page, "#next")
    click(page, "#next")
    at_screen(page, "Screen 1 of 3")
    keys(page, "b")
    page.execute_script("BOARD.rate(BOARD.order[1], 37)")
    click(page, "summary")
    one(page, "#comment").send_keys("hiss")
    wait(lambda: len(page.execute_script("return BOARD.kept.heard")) == 1)
    order = page.execute_script("return BOARD.order")
    page.refresh()
    at_screen(page, "Screen 1 of 3")
    assert page.execute_script("return BOARD.order") == order
    assert [row.text for row in page.find_elements("css selector", "output")][:3] == [
        NONE,
        "37",
        NONE,
    ]
    assert one(page, "#comment").get_property("value") == "hiss"
    assert one(page, "details").get_property("open") is True
    click(page, "#next")
    assert said(page).startswith("Still to rate: A, C, D, E. Still to listen to: A, C, D, E.")


def test_by_keyboard_alone(page: Any) -> None:
    enter(page)
    up, down, left, right = "\ue013", "\ue015", "\ue012", "\ue014"
    player = "return BOARD.player.%s"
    keys(page, " ")
    assert page.execute_script(player % "playing") is True
    keys(page, "a", up, up, down)
    assert page.execute_script("return BOARD.kept.scores[BOARD.order[0]]") == 51
    keys(page, "\ue00e", right)  # page up; the next version
    assert page.execute_script("return BOARD.kept.scores[BOARD.order[0]]") == 61
    assert page.execute_script("return BOARD.current === BOARD.order[1]")
    keys(page, left, left)
    assert page.execute_script("return BOARD.current") is None  # the reference
    keys(page, "3", "0", "r", "e")
    assert page.execute_script("return BOARD.current === BOARD.order[4]")
    keys(page, " ")
    assert page.execute_script(player % "playing") is False
    page.execute_script("BOARD.seek(0.4)")
    keys(page, "]")
    assert page.execute_script("return [BOARD.player.from, BOARD.player.to]") == [0, 0.4]
    keys(page, "\\")
    assert page.execute_script("return BOARD.player.to") == 1.0
    # Letters in a comment are a comment's.
    click(page, "summary")
    one(page, "#comment").send_keys("bad noise")
    assert page.execute_script("return BOARD.current === BOARD.order[4]")
    # Every control can be reached and says what it is.
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('button, input, textarea, [role=slider]')].filter("
        "(e) => !e.textContent.trim() && !e.getAttribute('aria-label') && !e.labels?.length).length"
    )
    assert unnamed == 0


def test_at_390_pixels_everything_is_within_and_large_enough(
    page: Any, test: tuple[Path, Design]
) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    enter(page)
    click(page, "#next")
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    small = page.execute_script(
        "return [...document.querySelectorAll('button, input, #track')].filter((e) => !e.hidden)"
        ".map((e) => e.getBoundingClientRect()).filter((r) => r.height < 40 || r.left < 0 "
        "|| r.right > 390).length"
    )
    assert small == 0
    slider = one(page, ".slide input")
    page.execute_script("arguments[0].scrollIntoView()", slider)
    slider.click()  # in its middle, where it stands: that is a rating too
    assert page.execute_script("return BOARD.kept.scores[BOARD.order[0]]") in (49, 50, 51)


def test_served_ratings_arrive_one_by_one_and_on_any_device(
    chromium: Any, test: tuple[Path, Design], server: Server
) -> None:
    folder, design = test
    root = f"http://127.0.0.1:{server.server_address[1]}/"
    token = read_tokens(folder)[3]
    with contextmanager(opened)(chromium, f"{root}?token={token}") as browser:
        click(browser, "#device option:nth-child(2)")
        click(browser, "#next")
        at_screen(browser, "Practice")
        rate_all(browser, design)
        click(browser, "#next")
        click(browser, "#next")
        at_screen(browser, "Screen 1 of 3")
        wait(lambda: "training" in server.listening.store.done("4"))
        rate_all(browser, design)
        click(browser, "#next")
        at_screen(browser, "Screen 2 of 3")
        wait(lambda: len(server.listening.store.done("4")) == 2)
        browser.execute_script("localStorage.clear()")  # as on another device
        browser.get(f"{root}?token={token}")
        click(browser, "#device option:nth-child(2)")
        click(browser, "#next")
        at_screen(browser, "Practice")
        click(browser, "#next")  # rated already
        for number in (2, 3):
            at_screen(browser, f"Screen {number} of 3")
            rate_all(browser, design)
            click(browser, "#next")
        wait(lambda: "have arrived" in one(browser, "#sent").text)
    done = server.listening.store.done("4")
    assert set(done) == {
        *screens_of([s.id for s in design.screens], design.seed, "4", 3),
        "training",
    }
    text = (folder / "ratings" / "served.jsonl").read_text()
    assert '"kind":"about"' in text and token not in text
    chromium.get(f"{root}?token=wrong")
    wait(lambda: "This link is not of this test." in one(chromium, "main").text)
    chromium.get_log("browser")  # the browser itself logs an answer of 403


def test_ratings_wait_while_the_server_is_away(
    chromium: Any, test: tuple[Path, Design], server: Server
) -> None:
    folder, design = test
    root = f"http://127.0.0.1:{server.server_address[1]}/"
    with contextmanager(opened)(chromium, f"{root}?token={read_tokens(folder)[4]}") as browser:
        click(browser, "#device option:nth-child(2)")
        click(browser, "#next")
        at_screen(browser, "Practice")
        rate_all(browser, design)
        browser.execute_script("window.real = Keep.post; Keep.post = () => Promise.reject(Error())")
        click(browser, "#next")
        click(browser, "#next")
        at_screen(browser, "Screen 1 of 3")
        wait(lambda: "does not answer" in said(browser))
        assert len(state(browser)["unsent"]) == 1
        browser.refresh()  # the server is there again
        wait(lambda: not state(browser)["unsent"])
    assert set(server.listening.store.done("5")) == {"training"}
