from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from edge_audiokv.eval.tasks import spoken_code
from edge_audiokv.train.features import whole_tokens
from edge_audiokv.train.speech import code_sentence, join_sentences, sentences
from edge_audiokv.train.text import plain


class Tone:
    def say(self, text: str, rng: random.Random) -> tuple[np.ndarray, str]:
        return np.ones(100 * len(text.split()), np.float32), "tone"


def test_sentences_are_speakable_short_and_unique(tmp_path: Path) -> None:
    long = ", ".join(["one two three four five six seven"] * 8)
    lines = [
        "In 1849 he left.",
        "A plain  sentence here.",
        "A plain sentence here.",
        "Too short",
        long,
    ]
    (tmp_path / "text").write_text("\n".join(lines))
    found = sentences([tmp_path / "text"], max_words=20)
    assert found[0] == "A plain sentence here."
    assert all(3 <= len(s.split()) <= 20 for s in found)
    assert len(found) == len(set(found)) > 2


def test_a_code_is_spoken_as_it_is_asked_for() -> None:
    rng = random.Random(1)
    for _ in range(50):
        text, code = code_sentence(rng)
        assert spoken_code(plain(text)) == code and len(code) == 4


def test_sentences_are_joined_with_pauses() -> None:
    audio, speaker = join_sentences(Tone(), ["one two", "three"], random.Random(0))
    assert speaker == "tone"
    assert int(audio.sum()) == 300
    assert 300 + 2 * 800 <= len(audio) <= 300 + 2 * 8000


def test_whole_tokens_cut_or_pad() -> None:
    assert len(whole_tokens(np.zeros(100, np.float32))) == 1280
    assert len(whole_tokens(np.zeros(3000, np.float32))) == 2560
