"""The picture of `listen`: what is on a screen is in it, and README shows it."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pyte
import pytest

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "listen.svg"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "picture_listen", ROOT / "scripts" / "picture_listen.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(svg: str) -> str:
    """The rows of a picture, top to bottom, one a line."""
    rows: dict[str, str] = {}
    for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        row = element.get("clip-path") or "title"
        rows[row] = rows.get(row, "") + "".join(element.itertext()).replace("\xa0", " ")
    return "\n".join(rows.values())


def test_what_is_on_a_screen_is_in_the_picture(script: ModuleType) -> None:
    screen = pyte.Screen(40, 5)
    pyte.Stream(screen).feed(
        "\x1b[32mgreen\x1b[0m & \x1b[3mslanted\x1b[0m\r\n\x1b[7m船\x1b[0m <end>"
    )
    svg = script.svg_of(script.text_of(screen, 2), 40, "a title")
    text = words_of(svg)
    assert "a title" in text and "green & slanted" in text and "<end>" in text and "船" in text
    # The green of the theme, and nothing that a viewer would have to fetch.
    assert "#70c870" in svg and "font-face" not in svg and "url(http" not in svg


def test_the_picture_is_of_a_session_and_the_readme_shows_it() -> None:
    text = words_of(PICTURE.read_text(encoding="utf-8"))
    assert re.search(r"\d\d:\d\d:\d\d [A-Z][a-z]+ [a-z]+", text)
    assert "Q: What was in the garden?" in text and "A: " in text
    assert re.search(r"listening \d\d:\d\d:\d\d [█·]+ -\d+ dB", text)
    assert re.search(r"memory [█·]+ [\d.]+ MiB of 953\.7 MiB", text)
    assert "> where did the old man" in text
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"!\[[^\]]{10,120}\]\(docs/listen\.svg\)", readme.split("## Try it")[0])
