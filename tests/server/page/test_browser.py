"""The page in a real browser: with the real model, and with all that may go wrong."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe

from tests.server.house import Running, starting
from tests.server.page.conftest import Tab, tab
from tests.server.scripted import ScriptedEngine
from tests.server.served import Served

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name != "posix", reason="signals and Unix sockets"),
]
KEY = "0123456789/abc(def)="
POINTS = "document.querySelector('#memory-graph .rss').getAttribute('points').split(' ').length"
RED = ("serious", "critical")


class Paged(Running):
    page = True


class Locked(Paged):
    key = KEY


@pytest.fixture
def start(engine: ScriptedEngine, tmp_path) -> Iterator[Callable[..., Running]]:
    yield from starting(Paged, engine, tmp_path)


@pytest.fixture
def clip(tmp_path_factory) -> Path:
    """Two seconds that the scripted engine takes for speech, and a moment of silence."""
    loud, quiet = np.full(48_000, 0.5, np.float32), np.zeros(12_000, np.float32)
    path: Path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, np.concatenate([loud, quiet]), 24_000, subtype="PCM_16")
    return path


def at(running: Running) -> str:
    return f"http://127.0.0.1:{running.http_port}"


def faults(opened: Tab) -> list[str]:
    """What axe-core finds that keeps people out."""
    found = Axe().run(opened.page).response["violations"]
    return [f"{it['id']}: {it['nodes'][0]['html']}" for it in found if it["impact"] in RED]


def tab_to(opened: Tab, id: str) -> None:
    """Go there with the keyboard alone."""
    for _ in range(30):
        if opened.page.evaluate("document.activeElement?.id") == id:
            return
        opened.page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {id}")


def rows_of(opened: Tab) -> list[list[int]]:
    cells: list[list[str]] = opened.page.eval_on_selector_all(
        "#rows tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return [[int(cell) for cell in row] for row in cells]


@pytest.mark.usefixtures("local_model")
@pytest.mark.slow
def test_speech_is_shown_a_question_answered_and_the_memory_drawn(
    browser, spoken, tmp_path
) -> None:
    served = Served(tmp_path)
    try:
        served.wait()
        with tab(browser, served.url, viewport={"width": 360, "height": 740}) as phone:
            page, keys = phone.page, phone.page.keyboard
            phone.until("memory-text", "of the cap of")
            tab_to(phone, "listen")
            keys.press("Enter")
            phone.until("state", "Listening.")
            began = phone.number(POINTS)
            page.locator("#said li").first.wait_for(timeout=60_000)
            words = re.findall(r"\w+", phone.text("said").lower())
            meant = set(re.findall(r"\w+", spoken["garden"].text.lower()))
            assert len(meant & set(words)) >= 0.75 * len(meant)
            tab_to(phone, "question")
            keys.type("What did she find?")
            keys.press("Enter")
            page.locator("#answers li:not([aria-busy])").first.wait_for(timeout=60_000)
            question, answer = phone.text("answers").split("\n", 1)
            assert question == "What did she find?" and meant & set(answer.lower().split())
            tab_to(phone, "listen")
            keys.press("Enter")
            phone.until("state", "Not listening")
            # The graph moves, and what it shows is what the server tells.
            assert phone.number(POINTS) > began
            tab_to(phone, "table")
            keys.press("Enter")
            page.locator("#rows tbody tr").first.wait_for()
            told = served.get("/v1/edge/memory").json()
            rows, heads = rows_of(phone), told["heads"]
            assert len(rows) == len(heads["audio"]) * len(heads["audio"][0])
            for layer, head, audio, text, other, room in rows:
                assert audio == heads["audio"][layer][head] > 0
                assert text == heads["text"][layer][head] > 0
                assert other == heads["other"][layer][head] > 0
                assert room == heads["capacity"][layer][head] >= audio + text + other
            parts = page.locator("#parts tbody th").all_inner_texts()
            assert set(parts) == set(told["parts"])
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            assert not faults(phone)
            page.emulate_media(color_scheme="dark")
            assert not faults(phone)
            assert not phone.complaints
            # The server ends; the page says so, and what to do.
            code, _, _ = served.end(signal.SIGINT)
            assert code == 130
            phone.until("notices", "The server has stopped.")
            phone.until("notices", "edge-audiokv serve")
    finally:
        if served.process.poll() is None:
            served.end(signal.SIGKILL)


def test_one_page_is_heard_at_a_time_and_a_page_loaded_anew_begins_anew(
    browser, start, engine, clip
) -> None:
    url = at(start())
    with tab(browser, url) as first, tab(browser, url) as second:
        first.page.set_input_files("#file", clip)
        first.until("open", "first words")
        second.page.click("#listen")
        second.until("notices", "The server is busy with another page or program")
        second.until("state", "Not listening.")
        assert second.text("said") == ""
        # Loaded anew in the middle of a stream: nothing stays, neither here nor there.
        first.page.reload()
        first.until("notices", "what was heard before is forgotten")
        assert first.text("said") == ""
        first.page.set_input_files("#file", clip)
        first.until("said", engine.live_text)
        assert engine.forgotten == 1
        first.page.click("#forget")
        assert first.text("said") == "" and first.page.is_disabled("#forget")
        second.page.click("#listen")
        second.until("state", "Listening.")
        assert second.text("notices") == ""
        assert not first.complaints


def test_without_sound_it_says_why_and_leaves_the_model_to_others(
    browser, start, engine, clip, tmp_path_factory
) -> None:
    running = start()
    with tab(browser, at(running), hears=False) as page:
        page.page.fill("#question", "What was said?")
        page.page.press("#question", "Enter")
        page.until("notices", "There is nothing to ask about yet.")
        page.page.click("#listen")
        page.until("notices", "This page may not use the microphone.")
        page.until("state", "Not listening.")
        missing = "() => Promise.reject(new DOMException('', 'NotFoundError'))"
        page.page.evaluate(f"void (navigator.mediaDevices.getUserMedia = {missing})")
        page.page.click("#listen")
        page.until("notices", "There is no microphone.")
        text = tmp_path_factory.mktemp("text") / "talk.mp3"
        text.write_text("this is no sound")
        page.page.set_input_files("#file", text)
        page.until("notices", "This browser cannot read the file.")
        page.until("state", "Not listening.")
        page.page.wait_for_function(
            "() => fetch('/v1/edge/memory').then(it => it.json()).then(it => it.jobs === 0)"
        )
        assert not engine.fed and not page.complaints
        running.worker.refuse_new()
        page.page.set_input_files("#file", clip)
        page.until("notices", "The server can hear nobody now: stopping.")
        page.until("state", "Not listening.")


def test_a_server_that_is_gone_or_fails_is_told(browser, start, engine, clip) -> None:
    running = start()
    engine.answered = "a boat"
    with tab(browser, at(running)) as page:
        page.page.set_input_files("#file", clip)
        page.until("said", engine.live_text)
        page.page.fill("#question", "too long")
        page.page.press("#question", "Enter")
        page.until("answers", "the question is too long.")
        page.page.fill("#question", "What floats?")
        page.page.click("#send")
        page.until("answers", "a boat")
        running.end()
        page.until("notices", "The server has stopped.")
        page.until("notices", "The server does not answer.")
        # What was heard can still be read.
        assert engine.live_text in page.text("said")


def test_a_key_is_asked_for_and_kept_nowhere(browser, engine, tmp_path, clip) -> None:
    makes = starting(Locked, engine, tmp_path)
    url = at(next(makes)())
    with tab(browser, url) as page:
        page.until("key", "API key of this server")
        for key, then in (("wrong" * 4, "That is not this server's key."), (KEY, "")):
            page.page.fill("#key-text", key)
            page.page.press("#key-text", "Enter")
            if then:
                page.until("notices", then)
        page.until("memory-text", "of the cap of")
        assert page.page.is_hidden("#key") and page.text("notices") == ""
        page.page.set_input_files("#file", clip)
        page.until("said", engine.live_text)
        page.page.reload()
        page.until("key", "API key of this server")
        kept = "JSON.stringify([localStorage, sessionStorage, document.cookie, history.state])"
        assert KEY not in page.page.evaluate(kept)
    assert not list(makes)


def test_a_microphone_of_any_rate_is_heard_as_it_is(browser, start) -> None:
    """Tones through the page's resampler, cut at odd places."""
    tones_hz = [1000, 5000, 15_000]
    rates_hz = [16_000, 44_100, 48_000]
    with tab(browser, at(start())) as page:
        found = page.page.evaluate(
            """async ([rates, tones]) => {
                const { Resampler } = await import("/page/resample.js");
                return rates.map((rate) => tones.map((tone) => {
                    const one = new Resampler(rate, 24000);
                    const wave = Float32Array.from({ length: rate / 2 }, (_, at) =>
                        Math.sin((2 * Math.PI * tone * at) / rate));
                    const out = [];
                    for (let at = 0; at < wave.length; at += 997) {
                        out.push(...one.push(wave.subarray(at, at + 997)));
                    }
                    return out;
                }));
            }""",
            [rates_hz, tones_hz],
        )
    for rate_hz, waves in zip(rates_hz, found, strict=True):
        for tone_hz, wave in zip(tones_hz, map(np.array, waves), strict=True):
            if tone_hz > rate_hz / 2:  # there is no such tone
                continue
            assert 11_900 < wave.size <= 12_000
            # A tone that the new rate cannot carry must not come back as another.
            meant = np.sin(2 * np.pi * tone_hz * np.arange(wave.size) / 24_000)
            assert np.abs(wave - meant * (tone_hz < 12_000))[100:].max() < 0.01
