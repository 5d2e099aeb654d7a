"""Messages: one line, whatever the names in them hold."""

from __future__ import annotations

import pytest

from edge_audiokv.errors import EdgeAudioKVError


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
