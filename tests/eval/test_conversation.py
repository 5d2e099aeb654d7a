"""Turns of the real model: read once, heard again, brought back when the cache has lost them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.long_context import Conversation
from edge_audiokv.eval.tasks import CODE, LAST

pytestmark = pytest.mark.integration

DATA = Path(__file__).resolve().parents[1] / "data"


def logits_after(context: Conversation, question: str) -> np.ndarray:
    cache, runtime = context.cache, context.runtime
    start = cache.next_position
    with cache.unobserved():
        logits = cache.ask(runtime.template.ask_ids(runtime.model, question)).copy()
    cache.truncate(start)
    return logits


def test_a_sound_that_is_heard_again_is_remembered_as_it_was_and_recalled_when_it_is_lost() -> None:
    with Conversation(EngineSettings(), 2000, recalls=True) as context:
        names = ("codes/002-0753", "garden", "harbour")
        sounds: list[Sound] = [
            context.runtime.encoder.hear(read_all(DATA / f"{name}.flac")) for name in names
        ]
        context.listen(sounds)
        logits, n_positions = logits_after(context, LAST), context.cache.next_position
        assert context.ask(CODE) == "0753"
        context.listen(sounds)
        assert context.cache.next_position == n_positions
        np.testing.assert_allclose(logits_after(context, LAST), logits, atol=1e-3)
        context.cache.clear()
        assert context.ask(CODE) == "0753"
        # It was not there any more.
        context.listen(sounds[1:])
        assert context.ask(CODE) != "0753"
