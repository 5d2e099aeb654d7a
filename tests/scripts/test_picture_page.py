"""The picture of the page: small, of few colours, and README shows it."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "page.png"


def test_the_picture_is_small_and_the_readme_shows_it() -> None:
    assert PICTURE.stat().st_size < 150_000
    with Image.open(PICTURE) as picture:
        assert picture.format == "PNG" and picture.mode == "P"
        # Wide enough for two columns, narrow enough to be read in a README.
        assert 960 <= picture.width <= 1200
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## For other programs")[2].partition("\n## ")[0]
    assert re.search(r"!\[[^\]]{10,160}\]\(docs/page\.png\)", section)


def test_a_picture_of_few_colours_stays_as_it_is() -> None:
    spec = importlib.util.spec_from_file_location(
        "picture_page", ROOT / "scripts" / "picture_page.py"
    )
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 20:40], pixels[10:20, :, 2] = (43, 120, 197), 255
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "PNG", compress_level=0)
    small = script.small(whole.getvalue())
    assert len(small) < len(whole.getvalue()) / 4
    with Image.open(io.BytesIO(small)) as picture:
        assert (np.asarray(picture.convert("RGB")) == pixels).all()
