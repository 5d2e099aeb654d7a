"""Messages: one line, whatever the names in them hold."""

from __future__ import annotations

import pytest

from edge_audiokv.errors import MOST_CHARS, EdgeAudioKVError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.wav", "a.wav"),
        ("Grüße, 東京.wav", "Grüße, 東京.wav"),
        ("a\nb\t c.wav", "a b c.wav"),
        ("red\x1b[31m.wav", "red\\x1b[31m.wav"),
        ("n\udcff.wav", "n\\udcff.wav"),
    ],
)
def test_one_line_that_any_terminal_takes(name: str, shown: str) -> None:
    error = EdgeAudioKVError(f"{name} is gone.", cure="Look for it.")
    assert str(error) == f"{shown} is gone. Look for it."
    assert str(error).encode()


def test_what_was_typed_or_fetched_fills_no_screen() -> None:
    error = EdgeAudioKVError(f"{'b' * 70_000} is gone.", cure=f"Look for {'c' * 70_000}.")
    assert len(str(error)) <= 2 * MOST_CHARS + 1
    assert error.what.startswith("bbb") and error.what.endswith("b is gone.")
