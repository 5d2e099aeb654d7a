"""The best path of a text through an encoder's words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.path import align

from .heard import VOCABULARY, sound

FLOOR = 0.01
HEARD = sound(
    {}, {" russia": 0.5, " rich": 0.4}, {"mond": 0.9}, {}, {}, {" is": 0.8}, {}, {}, {},
    {" far": 0.95}, {},
)  # fmt: skip


def places(text: str, heard: Sound) -> list[tuple[str, int, int]]:
    return [(p.text, p.first, p.last) for p in align(text, heard, VOCABULARY, floor=FLOOR).words]


def test_words_lie_where_their_pieces_were_heard() -> None:
    found = align("Richmond is far.", HEARD, VOCABULARY, floor=FLOOR)
    assert places("Richmond is far.", HEARD) == [("Richmond", 1, 2), ("is", 5, 5), ("far.", 9, 9)]
    assert [p.confidence for p in found.words] == pytest.approx([0.4, 0.8, 0.95])
    assert found.rows.tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 2, 5, 5, 5, 9, 9, 9, 9]


def test_a_word_that_was_not_heard_is_not_believed() -> None:
    found = align("richmond zoo far", HEARD, VOCABULARY, floor=FLOOR)
    assert [p.confidence for p in found.words] == pytest.approx([0.4, 0.0, 0.95])
    assert places("richmond zoo far", HEARD)[1] == ("zoo", 5, 5)


def test_a_word_is_found_by_the_pieces_of_it_that_were_heard() -> None:
    assert places("richly far", HEARD) == [("richly", 1, 2), ("far", 9, 9)]
    assert places("almond far", HEARD) == [("almond", 1, 2), ("far", 9, 9)]


def test_a_word_said_again_must_have_been_silent_between() -> None:
    heard = sound({" no": 0.9}, {" no": 0.9}, {}, {}, {}, {" no": 0.9}, {})
    assert places("no no", heard) == [("no", 0, 1), ("no", 5, 5)]
    once = align("no no no", heard, VOCABULARY, floor=FLOOR)
    assert sorted(p.confidence for p in once.words) == pytest.approx([0.0, 0.9, 0.9])


def test_two_cases_of_a_word_are_one_word() -> None:
    twice = Sound(
        np.zeros((1, 4), np.float32), np.array([[3, 3, 4]], np.int32), np.array([[0.4, 0.3, 0.2]])
    )
    assert align("is", twice, VOCABULARY, floor=FLOOR).words[0].confidence == pytest.approx(0.7)


def test_tokens_lie_where_their_letters_do() -> None:
    found = align("Richmond is far.", HEARD, VOCABULARY, floor=FLOOR)
    tokens = ["Rich", "mo", "nd", " is", " ", "far", "."]
    rows = [(1, 1), (2, 2), (2, 2), (5, 5), (9, 9), (9, 9), (9, 9)]
    assert found.token_rows(tokens) == rows
    assert found.token_rows([" \n", " Rich", *tokens[1:], "\n"])[1:-1] == rows


@pytest.mark.parametrize("heard", [HEARD, sound(), Sound.of(np.zeros((3, 4), np.float32))])
@pytest.mark.parametrize("text", ["", "...", "a b", " ".join("abcdefghijklmnop"), "«»  -"])
def test_any_text_has_places(heard: Sound, text: str) -> None:
    found = align(text, heard, VOCABULARY, floor=FLOOR)
    assert len(found.rows) == len(text)
    assert "".join("".join(p.text for p in found.words).split()) == "".join(text.split())


def log_likelihood(path: tuple[str, ...], heard: Sound) -> float:
    """Of a path, a piece or "" for silence a row; above no floor."""
    total = 0.0
    for row, piece in enumerate(path):
        named = {
            VOCABULARY[w]: b
            for w, b in zip(heard.words[row].tolist(), heard.beliefs[row].tolist(), strict=True)
        }
        belief = named.get(piece, 0.0) if piece else max(1 - sum(named.values()), 1e-3)
        total += float(np.log(belief)) if belief else -np.inf
    return total


@given(
    beliefs=st.lists(
        st.lists(st.floats(0.02, 0.33), min_size=3, max_size=3), min_size=4, max_size=5
    ),
    text=st.sampled_from(["aa", "ab", "a a", "aab"]),
)
def test_no_other_path_is_likelier(beliefs: list[list[float]], text: str) -> None:
    """Against all paths, tried one by one; beliefs are above the floor, so none needs it."""
    heard = sound(*(dict(zip([" a", "a", "b"], row, strict=True)) for row in beliefs))
    scored = []
    for path in itertools.product(["", " a", "a", "b"], repeat=len(beliefs)):
        merged = [piece for piece, _ in itertools.groupby(path) if piece]
        if "".join(merged) == " " + text:
            scored.append((log_likelihood(path, heard), path))
    scored.sort()
    found = align(text, heard, VOCABULARY, floor=1e-9)
    score, best = scored[-1]
    assert found.score == pytest.approx(score)
    if score - scored[-2][0] > 1e-6:  # no other is as likely
        begun = [
            row
            for row, piece in enumerate(best)
            if piece.startswith(" ") and (not row or best[row - 1] != piece)
        ]
        assert [place.first for place in found.words] == begun
        last = max(row for row, piece in enumerate(best) if piece)
        assert found.words[-1].last == last
