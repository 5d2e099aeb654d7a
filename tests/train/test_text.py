from __future__ import annotations

import pytest

from edge_audiokv.train.text import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It\u2019s 'quoted' -- and o'clock", "it's quoted and o'clock"),
        ("Chapter 12", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected
