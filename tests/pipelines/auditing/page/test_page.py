"""The page in a real browser: it plays, switching keeps the position, sorting sorts, nothing is
logged as an error."""

from __future__ import annotations

import importlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browsers import opened
from rewriting import rewrite, with_codes
from sounds import sound

from pipelines import AuditOptions, audit
from pipelines.output.config import RunOptions, TokenizeConfig
from pipelines.run import tokenize_corpus

PATIENCE = 20.0
NO_VALUE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of six recordings, one of them faulty, one with a name that would be markup."""
    root = tmp_path_factory.mktemp("page")
    (root / "corpus").mkdir()
    for number, name in enumerate(["a.wav", "b.wav", "c <b>&.wav", "d.wav", "e.wav"]):
        soundfile.write(
            root / "corpus" / name, sound(48_000 * (3 + number), seed=number).samples.T, 48_000
        )
    soundfile.write(root / "corpus" / "silent.wav", np.zeros((48_000, 2)), 48_000)
    out = root / "out"
    tokenize_corpus(
        TokenizeConfig(str(root / "corpus"), codec="mulaw", bandwidth=12.0),
        str(out),
        RunOptions(workers=0, quiet=True),
    )

    def zero(values: np.ndarray) -> None:
        values[:, 450:600] = 0

    rewrite(out, "d.wav", lambda codes: with_codes(codes, zero))
    audit(str(out), options=AuditOptions(all=True, reencode=True, quiet=True))
    return out / "audit" / "index.html"


@pytest.fixture(scope="module")
def partial_page(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the same corpus without the faulty recording: 3 s of two recordings can be heard, and one
    measure is windowed."""
    out = Path(shutil.copytree(page.parent.parent, tmp_path_factory.mktemp("partial") / "out"))
    ids = ("a.wav", "b.wav", "c <b>&.wav", "e.wav")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "while_tokenizing"):
            patch.setattr(importlib.import_module(f"pipelines.auditing.{name}"), "MOST_HEARD", 2)
        asked = AuditOptions(
            ids=ids, metrics=("si-snr", "mel", "stoi"), clip_seconds=3.0, quiet=True
        )
        audit(str(out), options=asked)
    return out / "audit" / "index.html"


@pytest.fixture
def browser(chromium: Any, page: Path) -> Iterator[Any]:
    yield from opened(chromium, page.as_uri())


@pytest.fixture
def partial_browser(chromium: Any, partial_page: Path) -> Iterator[Any]:
    yield from opened(chromium, partial_page.as_uri())


@pytest.fixture
def served(chromium: Any, page: Path) -> Iterator[Any]:
    """The page from the simplest of web servers: it sends no parts of files, so that one cannot
    seek in what it sends."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(page.parent))
    handler.log_message = lambda *words: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield from opened(chromium, f"http://127.0.0.1:{server.server_port}/index.html")
            chromium.get("about:blank")
        finally:
            server.shutdown()
            thread.join()


def until(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.05)


def run(browser: Any, script: str) -> Any:
    return browser.execute_script(f"return {script}")


def cells(browser: Any, column: int) -> list[str]:
    return run(
        browser,
        "[...document.querySelectorAll('#table tbody tr')].map((row) => "
        f"row.cells[{column}].textContent)",
    )


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
    assert run(browser, "auditPage.player.audio.map((audio) => audio.duration)") == pytest.approx(
        [6.0] * 4, abs=0.05
    )


def ready(browser: Any) -> None:
    until(lambda: run(browser, "auditPage.player.now.readyState") >= 1)


def click_at(browser: Any, selector: str, share: float, number: int = 0) -> None:
    """A real click at a share of an element's width."""
    element = browser.find_elements("css selector", selector)[number]
    script = (
        "arguments[0].scrollIntoView({block: 'center'}); const b = "
        "arguments[0].getBoundingClientRect();"
    )
    box = browser.execute_script(f"{script} return [b.left, b.top, b.width, b.height]", element)
    for kind in ("mousePressed", "mouseReleased"):
        where = {
            "x": box[0] + share * box[2],
            "y": box[1] + box[3] / 2,
            "button": "left",
            "clickCount": 1,
        }
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **where})


def test_the_worst_chunk_is_marked_and_heard(browser: Any) -> None:
    ready(browser)
    browser.find_element("id", "worst").click()
    until(lambda: run(browser, "auditPage.player.playing"))
    assert run(browser, "auditPage.player.time") >= 3 * 0.99 - 0.3
    assert len(browser.find_elements("css selector", ".track .worst")) >= 4


def test_the_mark_of_the_worst_chunk_plays_it(browser: Any) -> None:
    ready(browser)
    click_at(browser, ".track .worst", 0.9, number=4)
    until(lambda: run(browser, "auditPage.player.playing"))
    assert 3 * 0.99 - 0.3 <= run(browser, "auditPage.player.time") < 3 * 0.99 + 0.3


def test_a_click_on_a_chunk_of_a_measure_plays_that_chunk(browser: Any) -> None:
    ready(browser)
    click_at(browser, ".track:has(svg)", 1.7 * 0.99 / 6)  # within chunk 1
    until(lambda: run(browser, "auditPage.player.playing"))
    assert 0.98 <= run(browser, "auditPage.player.time") < 1.3


def test_a_click_on_a_picture_plays_from_there(browser: Any) -> None:
    ready(browser)
    click_at(browser, ".track:has(canvas)", 0.25)
    until(lambda: run(browser, "auditPage.player.playing"))
    assert 1.4 <= run(browser, "auditPage.player.time") < 1.9


def test_space_plays_after_a_click_on_any_button(browser: Any) -> None:
    ready(browser)
    for selector in (".version:nth-of-type(3)", "th:nth-of-type(2) button", "#noticed button"):
        click_at(browser, selector, 0.5)
        ready(browser)
        browser.switch_to.active_element.send_keys(" ")
        until(lambda: run(browser, "auditPage.player.playing"))
        browser.switch_to.active_element.send_keys(" ")
        until(lambda: not run(browser, "auditPage.player.playing"))
    browser.find_element("id", "filter").send_keys(" 1")
    assert run(browser, "document.getElementById('filter').value").endswith(" 1")
    assert (
        not run(browser, "auditPage.player.playing")
        and run(browser, "auditPage.player.current") == 0
    )


def test_a_button_reached_by_tab_is_pressed_with_space(browser: Any) -> None:
    ready(browser)
    run(browser, "document.querySelectorAll('.version')[2].focus()")
    browser.switch_to.active_element.send_keys(" ")
    assert run(browser, "auditPage.player.current") == 2 and not run(
        browser, "auditPage.player.playing"
    )


def test_keys_seek_and_hear_the_worst_and_choose_versions(browser: Any) -> None:
    ready(browser)
    press(browser, "\ue014")  # right
    press(browser, "\ue014")
    until(lambda: run(browser, "auditPage.player.time") == pytest.approx(2.0, abs=0.01))
    press(browser, "\ue012")  # left
    until(lambda: run(browser, "auditPage.player.time") == pytest.approx(1.0, abs=0.01))
    for number in (4, 2, 1):
        press(browser, str(number))
        assert run(browser, "auditPage.player.current") == number - 1
        ready(browser)
        assert run(browser, "auditPage.player.time") == pytest.approx(1.0, abs=0.01)
    press(browser, "9")
    assert run(browser, "auditPage.player.current") == 0  # there is no ninth
    press(browser, "w")
    until(lambda: run(browser, "auditPage.player.playing"))
    assert run(browser, "auditPage.player.time") >= 3 * 0.99 - 0.3


def test_sorting_sorts_worst_first_and_turns_round(browser: Any) -> None:
    heading = next(
        b for b in browser.find_elements("css selector", "th button") if b.text.startswith("si-snr")
    )
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
    ready = (
        "[...document.querySelectorAll('#detail img')].map((image) => image.complete && "
        "image.naturalWidth > 100)"
    )
    until(lambda: run(browser, ready) == [True] * 3)


def test_a_silent_recording_says_not_applicable(browser: Any) -> None:
    browser.find_element("id", "filter").send_keys("silent.wav")
    browser.find_element("css selector", "#table tbody tr").click()
    assert "not applicable: the source is silent" in browser.find_element("id", "detail").text


def phone(browser: Any) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.refresh()
    until(lambda: run(browser, "window.innerWidth") == 390)


def test_a_phone_opens_at_the_verdict_and_does_not_scroll_sideways(browser: Any) -> None:
    phone(browser)
    assert run(browser, "document.documentElement.scrollWidth") <= 390
    assert (
        run(browser, "scrollY") == 0
        and run(browser, "document.getElementById('verdict').getBoundingClientRect().bottom") < 200
    )
    player, table = (
        run(browser, f"document.querySelector('{name}').getBoundingClientRect().top")
        for name in ("#detail", ".table")
    )
    assert table < player
    browser.find_element("css selector", "#table tbody tr").click()
    until(
        lambda: (
            abs(run(browser, "document.querySelector('#detail').getBoundingClientRect().top")) < 5
        )
    )
    assert browser.find_element("css selector", "#detail h3").text == "a.wav"


def test_a_wide_screen_opens_at_the_verdict_too(browser: Any) -> None:
    time.sleep(0.3)
    assert run(browser, "scrollY") == 0


def test_it_says_what_to_listen_to_first_and_takes_one_there(browser: Any) -> None:
    links = browser.find_elements("css selector", "#first button")
    assert links[0].text == "d.wav" and len(links) == 3
    links[1].click()
    assert browser.find_element("css selector", "#detail h3").text == links[1].text


def test_it_says_which_way_is_better_and_what_one_hears(browser: Any) -> None:
    tiles = browser.find_element("id", "tiles").text
    assert (
        "SI-SNR" in tiles
        and "higher is better" in tiles
        and "lower is better" in tiles
        and "0 is right" in tiles
    )
    until(lambda: "lossless (FLAC)" in browser.find_element("id", "format").text)


def test_from_a_server_that_sends_no_parts_it_plays_seeks_and_switches(served: Any) -> None:
    ready(served)
    run(served, "auditPage.player.seek(4)")
    until(lambda: run(served, "auditPage.player.now.currentTime") == pytest.approx(4.0, abs=0.05))
    press(served, " ")
    until(lambda: run(served, "auditPage.player.now.currentTime") > 4.2)
    press(served, "3")
    until(lambda: run(served, "auditPage.player.now.currentTime") > 4.3)
    press(served, " ")
    until(
        lambda: run(
            served,
            "[...document.images].every((image) => image.complete && image.naturalWidth > 100)",
        )
    )


def test_play_and_seek_before_the_sound_has_come_are_remembered(served: Any) -> None:
    run(
        served,
        "[document.querySelectorAll('#table tbody tr')[4].click(), auditPage.player.seek(2), "
        "auditPage.player.play()]",
    )
    until(
        lambda: (
            2.1 < run(served, "auditPage.player.now.currentTime") < 6
            and run(served, "auditPage.player.playing")
        )
    )


def report_of(page: Path) -> Any:
    return json.loads((page.parent / "report.json").read_text())


def bars(browser: Any, plot: str) -> list[dict[str, Any]]:
    return run(
        browser,
        f"[...document.querySelectorAll('#plot-{plot} .bar')].map((bar) => ({{low: "
        "+bar.dataset.low, high: +bar.dataset.high, "
        "value: +bar.dataset.value, tall: +bar.getAttribute('height'), tip: bar.textContent}))",
    )


def axis(browser: Any, plot: str, which: str) -> list[str]:
    return run(
        browser,
        f"[...document.querySelectorAll('#plot-{plot} text.{which}')].map((text) => "
        "text.textContent)",
    )


@pytest.mark.parametrize("metric", ["si-snr", "level", "convergence", "mel"])
def test_histograms_count_every_recording_where_its_value_is(
    browser: Any, page: Path, metric: str
) -> None:
    values = [r["figures"][metric]["value"] for r in report_of(page)["recordings"]]
    known = [value for value in values if value is not None]
    found = bars(browser, metric)
    assert len(known) == 5 and sum(bar["value"] for bar in found) == 5
    for bar in found:
        assert bar["value"] == sum(
            bar["low"] - 1e-9 <= value < bar["high"] - 1e-9 for value in known
        ), bar["tip"]
    assert len(axis(browser, metric, "x")) >= 2 and axis(browser, metric, "y")[0] == "0"
    numbers = [float(text.replace(MINUS, "-")) for text in axis(browser, metric, "x")]
    assert found[0]["low"] <= min(numbers) and max(numbers) <= found[-1]["high"] + 1e-9


def test_codebook_use_is_out_of_the_codebooks_size(browser: Any, page: Path) -> None:
    report = report_of(page)
    found = bars(browser, "codebooks")
    assert [bar["value"] for bar in found] == [
        level["perplexity"] for level in report["corpus"]["codebooks"]
    ]
    size = report["codec"]["codebook_size"]
    unit = found[0]["tall"] / found[0]["value"]
    assert unit * size == pytest.approx(98, abs=1)  # the height of the plot, not of its tallest bar
    assert [float(text) for text in axis(browser, "codebooks", "y")][-1] >= size / 2


def test_scales_leave_silence_out_of_their_axis_and_say_so(browser: Any, page: Path) -> None:
    scales = report_of(page)["corpus"]["scales"]
    found = bars(browser, "scales")
    assert [bar["value"] for bar in found] == scales["counts"] and found[0]["low"] == scales[
        "edges"
    ][0] >= -100
    assert scales["silent"] > 0
    assert (
        f"and {scales['silent']} chunks of silence"
        in browser.find_element("id", "plot-scales").text
    )


def test_hours_by_source_rate(browser: Any, page: Path) -> None:
    assert [bar["value"] for bar in bars(browser, "hours")] == list(
        report_of(page)["corpus"]["source_hours"].values()
    )
    assert axis(browser, "hours", "x") == ["48"] and "kHz" in axis(browser, "hours", "title")


def test_measures_over_time_have_their_range_and_times(browser: Any, page: Path) -> None:
    faulty = next(r for r in report_of(page)["recordings"] if r["id"] == "d.wav")
    charts = browser.find_elements("css selector", ".chart:has(svg)")
    assert len(charts) == 4
    labels = [
        label.text.replace(MINUS, "-")
        for label in charts[0].find_elements("css selector", ".y span")
    ]
    series = faulty["series"]["si-snr"]
    assert [float(label) for label in labels] == pytest.approx([max(series), min(series)], rel=0.01)
    assert [label.text for label in charts[0].find_elements("css selector", ".times span")] == [
        "0:00",
        "0:02",
        "0:04",
        "0:06",
    ]
    pictures = browser.find_elements("css selector", ".images .chart")
    assert [label.text for label in pictures[0].find_elements("css selector", ".y span")] == [
        "500",
        "2k",
        "8k",
    ]


def test_long_lists_do_not_break_the_plots(browser: Any) -> None:
    assert run(browser, "Plots.extent([...new Array(400000).keys(), null])") == [0, 399_999]
    assert (
        run(
            browser,
            "Plots.histogram('x', [...new Array(400000).keys()], "
            "'').querySelectorAll('.bar').length",
        )
        > 10
    )


def test_it_says_how_many_can_be_heard_and_lists_all(
    partial_browser: Any, partial_page: Path
) -> None:
    assert len(cells(partial_browser, 0)) == 4
    assert "2 of 4 have sound, the worst" in partial_browser.find_element("id", "count").text
    assert (
        len(
            {path.parent for path in (partial_page.parent / "media").rglob("*.*") if path.is_file()}
        )
        == 2
    )
    heard = [r for r in report_of(partial_page)["recordings"] if r["page"]]
    others = [r for r in report_of(partial_page)["recordings"] if not r["page"]]
    mel = [[r["figures"]["mel"]["value"] for r in group] for group in (heard, others)]
    assert len(heard) == 2 and min(mel[0]) >= max(mel[1])
    mute = cells(partial_browser, 0).index(others[0]["id"])
    partial_browser.find_elements("css selector", "#table tbody tr")[mute].click()
    assert (
        "No sound: the page has it for 2 of 4, the worst"
        in partial_browser.find_element("id", "detail").text
    )
    press(partial_browser, " ")  # nothing to play, and nothing breaks


def test_what_cannot_be_heard_is_shaded_and_a_click_there_says_so(partial_browser: Any) -> None:
    ready(partial_browser)
    start = run(partial_browser, "AUDIT.recordings[auditPage.selected].page.start")
    seconds = run(partial_browser, "AUDIT.recordings[auditPage.selected].page.seconds")
    whole = run(partial_browser, "AUDIT.recordings[auditPage.selected].seconds")
    assert seconds == pytest.approx(3 * 0.99) or seconds == pytest.approx(2 * 0.99)
    shaded = run(
        partial_browser,
        "[...document.querySelectorAll('.track:has(svg)')[0].querySelectorAll('.outside')]"
        ".map((e) => e.style.width)",
    )
    assert sum(float(width.rstrip("%")) for width in shaded) == pytest.approx(
        100 * (1 - seconds / whole), abs=1
    )
    outside = 0.02 if start > 0.5 else 0.98
    click_at(partial_browser, ".track:has(svg)", outside)
    assert "cannot be heard" in partial_browser.find_element("id", "said").text
    assert (
        not run(partial_browser, "auditPage.player.playing")
        and run(partial_browser, "auditPage.player.time") == 0
    )


def test_it_claims_only_what_was_checked(partial_browser: Any) -> None:
    why = partial_browser.find_element("id", "why").text
    assert "Nothing wrong was found" in why and "not checked: that takes --reencode" in why
    noticed = partial_browser.find_element("id", "noticed").text
    assert noticed == "Nothing, in 4 recordings decoded and compared by the measures above."


def test_a_windowed_measure_says_so(partial_browser: Any) -> None:
    captions = [
        caption.text for caption in partial_browser.find_elements("css selector", ".caption")
    ]
    stoi = next(caption for caption in captions if caption.startswith("STOI"))
    assert "each value covers a window of 10 s" in stoi and "higher is better" in stoi
    assert not any("window" in caption for caption in captions if caption.startswith("SI-SNR"))


@pytest.mark.usefixtures("visqol_library")
def test_a_page_with_visqol(chromium: Any, page: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(page.parent.parent, tmp_path / "out"))
    done = audit(
        str(out),
        options=AuditOptions(ids=("a.wav", "silent.wav"), metrics=("visqol", "mel"), quiet=True),
    )
    score = done.recordings[0].figures["visqol"].value
    assert score is not None
    for browser in opened(chromium, (out / "audit" / "index.html").as_uri()):
        assert sorted(cells(browser, 3)) == sorted([f"{score:.2f}", NO_VALUE])
        browser.find_element("css selector", "#table tbody tr").click()
        assert "window of 10 s" in browser.find_element("id", "detail").text
        assert "MOS" in browser.find_element("id", "tiles").text


HOSTILE = (
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
)
ARABIC = "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645"


@pytest.fixture(scope="module")
def speech_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of speech with their words: dull ones but for two, one of a single chunk,
    two changed since."""
    root = tmp_path_factory.mktemp("speech")
    (root / "corpus").mkdir()
    rows = []
    texts = {0: "word " * 3000, 1: ARABIC, 2: HOSTILE}
    for number in range(8):
        samples = sound(20_000 if number == 3 else 48_000 * 3, seed=number).samples
        if number < 6:
            spectrum = np.fft.rfft(samples, axis=1)
            spectrum[:, int(6_000 / 24_000 * spectrum.shape[1]) :] = 0
            samples = 0.5 * np.fft.irfft(spectrum, n=samples.shape[1], axis=1)
            samples *= np.minimum(
                1.0, np.hanning(samples.shape[1]) * 10
            )  # without clicks at its ends
        name = f"o'{number}.wav"
        soundfile.write(root / "corpus" / name, samples.T, 48_000)
        language = {1: "ar", 2: HOSTILE}.get(number, "en")
        rows.append(
            {
                "path": name,
                "text": texts.get(number, f"sentence {number}"),
                "speaker": f"<i>{number}",
                "language": language,
            }
        )
    manifest = root / "corpus" / "corpus.jsonl"
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    out = root / "out"
    tokenize_corpus(
        TokenizeConfig(str(manifest), codec="mulaw", bandwidth=12.0),
        str(out),
        RunOptions(workers=0, quiet=True),
    )
    for number, seconds in ((6, 2), (7, 4)):  # the sources are shorter, and longer, than they were
        soundfile.write(
            root / "corpus" / f"o'{number}.wav",
            sound(48_000 * seconds, seed=number).samples.T,
            48_000,
        )
    audit(str(out), options=AuditOptions(all=True, quiet=True))
    return out / "audit" / "index.html"


@pytest.fixture
def speech(chromium: Any, speech_page: Path) -> Iterator[Any]:
    yield from opened(chromium, speech_page.as_uri())


def choose(browser: Any, number: int) -> str:
    """Opens one recording; what its pane says."""
    run(browser, f"document.querySelectorAll('#table tbody tr')[{number}].click()")
    return browser.find_element("id", "detail").text


def test_what_is_said_and_by_whom_is_shown_as_text(speech: Any) -> None:
    assert "speaker <i>4 · language en" in choose(speech, 4) and "sentence 4" in choose(speech, 4)
    assert HOSTILE in choose(speech, 2)
    assert run(speech, "document.title").startswith("Audit") and not speech.find_elements(
        "css selector", "#detail img[src=x]"
    )
    assert ARABIC in choose(speech, 1)
    assert run(speech, "getComputedStyle(document.getElementById('transcript')).direction") == "rtl"
    assert run(speech, "document.getElementById('transcript').lang") == "ar"
    choose(speech, 0)
    height, whole = (
        run(speech, f"document.getElementById('transcript').{name}")
        for name in ("clientHeight", "scrollHeight")
    )
    assert height < 200 < whole, "a long one scrolls within its box"
    speech.find_element("id", "filter").send_keys("SENTENCE 5")
    assert cells(speech, 0) == ["o'5.wav"]


def test_what_most_recordings_share_is_one_line(speech: Any, speech_page: Path) -> None:
    noticed = speech.find_element("id", "noticed").text
    assert "low bandwidth" in noticed and "6 recordings of 8" in noticed
    assert "low bandwidth" not in " ".join(cells(speech, 1))
    assert [
        finding["common"]
        for finding in report_of(speech_page)["findings"]
        if finding["name"] == "low bandwidth"
    ] == [True]
    assert "low bandwidth" in choose(speech, 4), "each says it for itself"
    first = [button.text for button in speech.find_elements("css selector", "#first button")]
    assert set(first[:2]) == {"o'6.wav", "o'7.wav"}, "errors come before what all have"
    speech.find_element("css selector", "#show option[value=clean]").click()
    assert len(cells(speech, 0)) == 6


def columns_of(browser: Any, name: str) -> list[Any]:
    return run(browser, f"AUDIT.recordings[auditPage.selected].page.peaks['{name}']")


def test_a_shorter_source_ends_where_it_ends(speech: Any) -> None:
    text = choose(speech, 6)
    assert "0:03.000 (its source: 0:02.000)" in text and "the source ends at 0:02.000" in text
    source, decoded = columns_of(speech, "source"), columns_of(speech, "12 kbps")
    assert len(source) == len(decoded)
    known = [column is not None for column in source]
    assert known == sorted(known, reverse=True) and sum(known) == pytest.approx(
        2 / 3 * len(known), abs=2
    )
    until(
        lambda: run(
            speech, "[...document.querySelectorAll('#detail img')].every((i) => i.complete)"
        )
    )
    assert (
        len(
            set(
                run(
                    speech,
                    "[...document.querySelectorAll('#detail img')].map((image) => "
                    "image.naturalWidth)",
                )
            )
        )
        == 1
    )
    grey = """(() => {
      const i = document.querySelector('#detail img'), c = document.createElement('canvas');
      c.width = i.naturalWidth; c.height = 1; const x = c.getContext('2d'); x.drawImage(i, 0, 0);
      return [...x.getImageData(0, 0, c.width, 1).data].filter((_, at) => at % 4 === 2); })()"""
    try:
        last = run(speech, grey)
    except Exception:  # a browser that reads no pixels of files
        return
    assert set(last[int(0.7 * len(last)) :]) == {0xA6}, "grey: there is no sound of it"


def test_what_has_ended_does_not_begin_anew(speech: Any) -> None:
    choose(speech, 6)
    until(lambda: all(run(speech, "auditPage.player.audio.map((audio) => audio.readyState >= 1)")))
    assert run(speech, "auditPage.player.audio.map((audio) => audio.duration)") == pytest.approx(
        [2.0, 3.0, 3.0, 3.0], abs=0.05
    )
    run(
        speech, "auditPage.player.hear(2.9)"
    )  # as a click outside the frame of the worst chunk does
    assert "source has ended at 0:02.0" in speech.find_element("id", "said").text
    assert not run(speech, "auditPage.player.playing")
    press(speech, "4")
    run(speech, "auditPage.player.hear(2.25)")
    until(lambda: run(speech, "auditPage.player.playing"))
    press(speech, "1")
    assert (
        not run(speech, "auditPage.player.playing") and run(speech, "auditPage.player.time") > 1.9
    )


def test_a_longer_source_is_not_pressed_into_the_codes_length(speech: Any) -> None:
    assert "0:03.000 (its source: 0:04.000)" in choose(speech, 7)
    assert all(column is not None for column in columns_of(speech, "source"))
    assert run(speech, "AUDIT.recordings[auditPage.selected].page.source_seconds") == 3


def test_measures_over_time_span_the_whole_recording(speech: Any) -> None:
    choose(speech, 6)
    spans = run(
        speech,
        "[...document.querySelectorAll('.track:has(svg)')].map((track) => +track.dataset.seconds)",
    )
    assert spans == [3, 3, 3, 3]


def test_the_worst_chunk_says_by_which_measure(speech: Any) -> None:
    choose(speech, 5)
    assert speech.find_element("id", "worst").text.startswith("worst chunk by log-mel distance, ")
    marks = run(
        speech,
        "[...document.querySelectorAll('#detail .chart:has(svg) .worst')].map((mark) => "
        "[mark.title, mark.style.left])",
    )
    row = run(speech, "AUDIT.recordings[auditPage.selected]")
    titles = {
        "SI-SNR": "si-snr",
        "level difference": "level",
        "spectral convergence": "convergence",
        "log-mel distance": "mel",
    }
    assert len(marks) == 4
    for title, left in marks:
        metric = titles[title.removeprefix("worst chunk by ").partition(":")[0]]
        values = row["series"][metric]
        bad = [{"si-snr": -value, "level": abs(value)}.get(metric, value) for value in values]
        at = bad.index(max(bad)) * row["segment_seconds"] / row["seconds"]
        assert float(left.rstrip("%")) == pytest.approx(100 * at, abs=0.1), title


def test_one_chunk_has_no_boxes_without_lines(speech: Any) -> None:
    text = choose(speech, 3)
    assert "One value a measure: SI-SNR" in text
    assert not speech.find_elements(
        "css selector", "#detail .track svg"
    ) and not speech.find_elements("css selector", ".worst")
    assert not speech.find_elements("id", "worst")


def test_labels_of_the_waveform_do_not_collide(speech: Any) -> None:
    choose(speech, 5)
    boxes = run(
        speech,
        "[...document.querySelectorAll('#detail .chart')].map((chart) => "
        "[...chart.querySelectorAll('.y span, .times span')]"
        ".map((span) => "
        "{ const b = span.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }))",
    )
    assert len(boxes) == 8
    for labels in boxes:
        for i, (left, top, right, bottom) in enumerate(labels):
            for other in labels[i + 1 :]:
                apart = (
                    right <= other[0]
                    or other[2] <= left
                    or bottom <= other[1] + 0.5
                    or other[3] <= top + 0.5
                )
                assert apart, (labels[i], other)


@pytest.mark.parametrize("way", ["click", "Enter", "key"])
def test_spectrograms_enlarge_and_escape_closes(speech: Any, way: str) -> None:
    choose(speech, 5)
    small = run(speech, "document.querySelector('.images .track').getBoundingClientRect().width")
    if way == "click":
        click_at(speech, ".images .track", 0.5)
    elif way == "Enter":
        run(speech, "document.querySelector('.images .track').focus()")
        speech.switch_to.active_element.send_keys("\ue007")
    else:
        press(speech, "e")
    until(lambda: run(speech, "document.querySelector('dialog').open"))
    wide = run(
        speech,
        "[...document.querySelectorAll('dialog .track')].map((track) => "
        "track.getBoundingClientRect().width)",
    )
    assert len(wide) == 3 and min(wide) > 3 * small and min(wide) > 1000
    ready(speech)
    click_at(speech, "dialog .track", 0.15)  # before the frame of the worst chunk, which plays that
    until(lambda: run(speech, "auditPage.player.playing"))
    assert 0.4 < run(speech, "auditPage.player.time") < 1.4
    speech.switch_to.active_element.send_keys("\ue00c")
    until(lambda: not run(speech, "document.querySelector('dialog').open"))


def test_on_a_phone_nothing_is_cut_and_all_can_be_touched(speech: Any) -> None:
    phone(speech)
    assert run(speech, "document.documentElement.scrollWidth") <= 390
    assert (
        run(
            speech,
            "document.querySelector('.table').scrollWidth - "
            "document.querySelector('.table').clientWidth",
        )
        <= 0
    )
    cut = (
        "[...document.querySelectorAll('#table td')].filter((cell) => cell.scrollWidth > "
        "cell.clientWidth + 1).length"
    )
    assert run(speech, cut) == 0
    sizes = (
        "[...document.querySelectorAll('button, input, select')].map((e) => "
        "e.getBoundingClientRect()).filter((b) => b.width)"
    )
    assert min(run(speech, f"{sizes}.map((box) => box.height)")) >= 44
    assert min(run(speech, f"{sizes}.map((box) => box.width)")) >= 24


@pytest.mark.parametrize("width", [700, 1000, 1360, 1400, 1900])
def test_the_table_fits_at_every_width(speech: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    speech.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert (
        run(
            speech,
            "document.querySelector('.table').scrollWidth - "
            "document.querySelector('.table').clientWidth",
        )
        <= 0
    )
    assert (
        run(
            speech,
            "Math.min(...[...document.querySelectorAll('button.link')].map((b) => "
            "b.getBoundingClientRect().height))",
        )
        >= 24
    )
    scale = (
        "Math.min(...[...document.querySelectorAll('.plot svg')].map((s) => "
        "s.getBoundingClientRect().width / 300))"
    )
    assert 12.5 * run(speech, scale) >= 11.5, "pixels that the plots' text is high"


def test_zeros_have_no_minus(browser: Any) -> None:
    assert run(
        browser,
        "[Common.fixed(-0.001, 2), Common.fixed(-0, 2), Common.fixed(-0.006, 2), Common.short(-0)]",
    ) == [
        "0.00",
        "0.00",
        "-0.01",
        "0",
    ]
    assert "-0.00" not in " ".join(cells(browser, 4))
