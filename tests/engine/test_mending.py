"""What leaves the sound is written again: strictly, then piece by piece, and the best try stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.jumps import HeardWord, heard_words
from edge_audiokv.engine.decoding.decode import Decoded
from edge_audiokv.engine.decoding.mending import _MAX_PIECES, carry_on, mend, n_astray

SAID = "some were scarlet nobody could say why nobody could say why then winter began"


def said(text: str) -> tuple[Sound, list[HeardWord]]:
    """A sound that says a word in every other row, and its words."""
    spoken = text.split()
    vocabulary = tuple(f" {word}" for word in sorted(set(spoken)))
    words = np.zeros((2 * len(spoken), 1), np.int32)
    beliefs = np.zeros((2 * len(spoken), 1), np.float32)
    for at, word in enumerate(spoken):
        words[2 * at, 0], beliefs[2 * at, 0] = vocabulary.index(f" {word}"), 0.9
    sound = Sound(np.arange(2 * len(spoken), dtype=np.float32)[:, None], words, beliefs)
    return sound, heard_words(sound, vocabulary)


def decoded(text: str, *flags: str) -> Decoded:
    return Decoded(text, tuple(range(len(text))), len(text), flags)


class Writer:
    """Tells `strict` when it is strict, else what the rows it is given say, at most `n` words."""

    def __init__(self, strict: Decoded, n: int = 99) -> None:
        self.strict, self.n = strict, n
        self.parts: list[int] = []

    def __call__(self, part: Sound, strict: bool) -> Decoded:
        if strict:
            return self.strict
        first = int(part.embeddings[0, 0])
        self.parts.append(first)
        return decoded(" ".join(SAID.split()[(first + 1) // 2 :][: self.n]))


def mended(first: Decoded, writer: Writer, *, piecewise: bool = True) -> Decoded:
    sound, heard = said(SAID)
    return mend(first, sound, heard, writer, piecewise=piecewise)


def test_a_text_that_follows_is_left_alone() -> None:
    writer = Writer(decoded("anything"))
    first = decoded(SAID.replace("scarlet", "starlit"))
    assert mended(first, writer) is first and not writer.parts


def test_the_strict_try_is_taken_if_it_follows() -> None:
    skipped = decoded("some were scarlet nobody could say why then winter began")
    writer = Writer(decoded(SAID))
    found = mended(skipped, writer)
    assert (found.text, found.flags) == (SAID, ()) and not writer.parts
    assert found.ids == decoded(SAID).ids
    assert found.n_generated == len(SAID) + len(skipped.text)


def test_the_rest_is_read_alone_where_every_try_jumps() -> None:
    skipped = decoded("some were scarlet nobody could say why then winter began")
    writer = Writer(skipped)
    found = mended(skipped, writer)
    assert (found.text, found.flags, found.ids) == (SAID, (), ())
    assert writer.parts == [13], "from the row before the second round"


def test_nothing_after_a_cut_is_lost() -> None:
    looped = decoded("some were scarlet nobody could", "loop")
    found = mended(looped, Writer(looped))
    assert (found.text, found.flags) == (SAID, ())


def test_a_text_told_twice_goes_on_where_it_was_right() -> None:
    twice = decoded(SAID.replace("then", "nobody could say why then"))
    assert mended(twice, Writer(twice)).text == SAID


def test_what_cannot_be_mended_is_flagged() -> None:
    lost = decoded("zebra zebra zebra", "loop")
    writer = Writer(decoded("zebras zebras zebras zebras", "loop"))
    found = mended(lost, writer)
    assert found.text == lost.text
    assert found.flags == ("loop", "jump")


def test_a_partial_is_not_read_piece_by_piece() -> None:
    looped = decoded("some were scarlet nobody could", "loop")
    writer = Writer(looped)
    found = mended(looped, writer, piecewise=False)
    assert (found.text, found.flags) == (looped.text, ("loop", "jump")) and not writer.parts


def test_the_pieces_are_bounded() -> None:
    writer = Writer(decoded("some"), n=1)
    found = mended(decoded("some"), writer)
    assert len(writer.parts) <= _MAX_PIECES
    assert "jump" in found.flags, "what is still missing is told"


@given(st.lists(st.sampled_from([*SAID.split()[:7], "zebra"]), max_size=30), st.integers(1, 12))
def test_a_text_never_gets_worse(words: list[str], n: int) -> None:
    sound, heard = said(SAID)
    first = decoded(" ".join(words))
    writer = Writer(decoded(" ".join(reversed(words))), n)
    found = mend(first, sound, heard, writer)
    assert n_astray(found.text, heard) <= n_astray(first.text, heard)
    assert ("jump" in found.flags) == bool(n_astray(found.text, heard))
    assert len(writer.parts) <= _MAX_PIECES
    # Every piece begins further on: the tries come to an end.
    assert writer.parts == sorted(set(writer.parts))


def carried_on(first: Decoded, flags: tuple[str, ...], n_words: int) -> tuple[Decoded, list[int]]:
    """Each try says the next `n_words` words, with `flags`; the LLM looks where they are."""
    sound, _ = said(SAID)
    begun: list[int] = []

    def write(part: Sound, strict: bool) -> Decoded:
        begun.append(int(part.embeddings[0, 0]))
        words = SAID.split()[(begun[-1] + 1) // 2 :][:n_words]
        last = begun[-1] / 2 + n_words >= len(SAID.split())
        return decoded(" ".join(words), *(() if last else flags))

    def end_row(text: Decoded, part: Sound) -> int:
        return 2 * len(text.text.split()) - 2 + int(part.embeddings[0, 0]) % 2

    found = carry_on(first, sound, end_row, write, tokens_per_second=4.0)
    return found, begun


def test_without_words_a_cut_text_goes_on_where_the_llm_looked_last() -> None:
    words = SAID.split()
    found, begun = carried_on(decoded(" ".join(words[:4]), "loop"), ("loop",), 4)
    assert found.text == SAID and found.ids == ()
    assert found.flags == ("loop",), "nothing says that it is right"
    assert begun == sorted(set(begun)) and len(begun) <= _MAX_PIECES


def test_without_words_what_was_not_cut_stays_and_tries_are_bounded() -> None:
    first = decoded("some were")
    assert carried_on(first, (), 2) == (first, [])
    found, begun = carried_on(decoded("some", "loop"), ("loop",), 1)
    assert len(begun) == _MAX_PIECES and found.flags == ("loop",)
