"""A real browser without a window, and what it complains about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
MICROPHONE_HZ = 48_000


@pytest.fixture(scope="module")
def microphone(tmp_path_factory) -> Path:
    """What the browser's microphone will hear, once: a file that is written before it starts."""
    clip = Path(__file__).parents[2] / "data" / "garden.flac"
    samples, rate_hz = soundfile.read(clip, dtype="float32")
    speech = soxr.resample(samples, rate_hz, MICROPHONE_HZ)
    path: Path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    silence = np.zeros(60 * MICROPHONE_HZ, np.float32)
    soundfile.write(path, np.concatenate([speech, silence]), MICROPHONE_HZ, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(microphone) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
            ],
        )
        yield opened
        opened.close()


class Tab:
    """A page of a context of its own; `complaints` are what its console was told."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(20_000)
        page.on("console", lambda line: self._heard(line.type, line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def text(self, id: str) -> str:
        return self.page.inner_text(f"#{id}")

    def until(self, id: str, words: str) -> None:
        """Until an element says that."""
        self.page.locator(f"#{id}").get_by_text(words).first.wait_for()

    def number(self, expression: str) -> float:
        found = self.page.evaluate(expression)
        assert isinstance(found, int | float), found
        return found


@contextmanager
def tab(browser: Browser, url: str, *, hears: bool = True, **options: Any) -> Iterator[Tab]:
    """`hears` says that the person has permitted the microphone."""
    context = browser.new_context(**options)
    if hears:
        context.grant_permissions(["microphone"], origin=url)
    try:
        opened = Tab(context.new_page())
        opened.page.goto(url)
        yield opened
    finally:
        context.close()
