from __future__ import annotations

import pytest

from edge_audiokv.events import Answer, Final, Partial, SpeechStarted


@pytest.fixture
def talk():
    """A short session: two things said, one of them twice over in markup, and a question."""
    return [
        SpeechStarted(0, 0.5),
        Partial(0, 0.5, 1.0, "hello", "hel"),
        Final(0, 0.5, 12.34, "Hello there,\nGeneral."),
        Final(1, 3600.0, 3601.5, "a < b --> c & d", ("cut",)),
        Final(2, 3602.0, 3603.0, "  "),
        Answer("Who is there?", "A general.", 3605.0),
    ]
