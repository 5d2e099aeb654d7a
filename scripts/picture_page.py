#!/usr/bin/env python
"""Take a picture of the page of `edge-audiokv serve`: the real server hears real speech.

python scripts/picture_page.py                   # docs/page.png, from clips of tests/data
python scripts/picture_page.py talk.flac --out talk.png --ask "What was decided?" --dark

It sends the clips as fast as they can be heard, twice so that the small cache has to choose, asks,
and takes the picture in the middle of a sentence; apt-get install chromium, pip install playwright.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
NAMES = ("harbour", "letter", "two_sentences", "garden")
CLIPS = [ROOT / "tests" / "data" / f"{name}.flac" for name in NAMES]
PAUSE_S = 0.6
WITHIN_MS = 120_000
# A partial of so many words is worth a picture; a busy machine may have none in time.
ENOUGH_WORDS, PARTIAL_WITHIN_S = 3, 30
COLOURS = 256
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def joined(clips: list[Path], path: Path, *, rounds: int) -> Path:
    """One file of all clips, a pause after each."""
    pieces, rates = [], set()
    for clip in clips:
        samples, rate_hz = soundfile.read(clip, dtype="float32", always_2d=True)
        rates.add(rate_hz)
        pieces += [samples.mean(axis=1), np.zeros(int(PAUSE_S * rate_hz), np.float32)]
    if len(rates) != 1:
        sys.exit("picture_page: the clips have different rates.")
    soundfile.write(path, np.concatenate(pieces * rounds), rates.pop())
    return path


@contextmanager
def serving(mem: str, kv_budget: str) -> Iterator[str]:
    """The address of a server's page."""
    command = [sys.executable, "-m", "edge_audiokv", "serve", "--port", "0", "--mem", mem]
    process = subprocess.Popen(
        [*command, "--kv-budget", kv_budget], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        told = []
        for line in process.stderr:
            told.append(line)
            if found := re.search(r"in a browser: (\S+)", line):
                yield found[1]
                return
        sys.exit("picture_page: the server did not start:\n" + "".join(told))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def heard(page: Page, sound: Path, *, fast: bool) -> None:
    page.set_checked("#fast", fast)
    page.set_input_files("#file", sound)
    page.get_by_text("Listening.", exact=True).wait_for()


def taken(page: Page, question: str, whole: Path, again: Path) -> bytes:
    """A picture, once all was heard, a question answered, and more is being said."""
    heard(page, whole, fast=True)
    page.get_by_text("Not listening; ask on.").wait_for()
    page.fill("#question", question)
    page.press("#question", "Enter")
    page.locator("#answers li:not([aria-busy])").first.wait_for()
    page.evaluate("document.activeElement.blur()")
    heard(page, again, fast=False)
    open_words = "document.getElementById('open').textContent.split(' ').length"
    deadline = time.monotonic() + PARTIAL_WITHIN_S
    while True:
        late = time.monotonic() > deadline
        if late or page.evaluate(open_words) > ENOUGH_WORDS:
            png = page.screenshot(full_page=True)
            # What is said may have ended while the picture was taken.
            if late or page.evaluate(open_words) > ENOUGH_WORDS:
                return png
        page.wait_for_timeout(100)


def small(png: bytes) -> bytes:
    """The same picture in few colours."""
    out = BytesIO()
    picture = Image.open(BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, help="sound files of one rate")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "page.png")
    parser.add_argument("--ask", default="What did she find?", help="asked and answered")
    parser.add_argument("--width", type=int, default=1040)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--mem", default="1GB", help="cap on the whole process")
    parser.add_argument("--kv-budget", default="15%", help="rows that the memory has room for")
    args = parser.parse_args()

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("picture_page: there is no chromium. Debian: apt-get install chromium")
    clips = args.clips or CLIPS
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(args.mem, args.kv_budget) as address,
        sync_playwright() as playwright,
    ):
        whole = joined(clips, Path(folder) / "whole.flac", rounds=2)
        again = joined(clips[::-1], Path(folder) / "again.flac", rounds=2)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(
            viewport={"width": args.width, "height": 700},
            color_scheme="dark" if args.dark else "light",
        )
        page.set_default_timeout(WITHIN_MS)
        page.goto(address)
        began_s = time.monotonic()
        png = small(taken(page, args.ask, whole, again))
        told = page.inner_text("main")
        browser.close()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(png)
    print(told)
    print(f"{args.out}: {len(png)} bytes, after {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
