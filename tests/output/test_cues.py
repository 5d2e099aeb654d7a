"""Subtitles keep the usual rules, whatever is said and however fast."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.errors import InputError
from edge_audiokv.events import Final, Word
from edge_audiokv.output.cues import Cue, CueBuilder, CueRules
from edge_audiokv.output.lines import least_lines, wrap


def said(text: str, *, start_s: float = 0.0, word_s: float = 0.3, pauses: tuple[int, ...] = ()):
    """A final whose words take `word_s` each; after those at `pauses` it is silent for 0.6 s."""
    words, at_s = [], start_s
    for index, word in enumerate(text.split()):
        words.append(Word(word, at_s, at_s + word_s))
        at_s += word_s + (0.6 if index in pauses else 0.0)
    return Final(0, start_s, at_s, text, words=tuple(words), confidence=1.0)


def shown(cues: list[Cue]) -> list[str]:
    return [" / ".join(cue.lines) for cue in cues]


def check_rules(cues: list[Cue], rules: CueRules) -> None:
    """All rules, recomputed from what is written."""
    for cue in cues:
        length_s = (cue.end_ms - cue.start_ms) / 1000
        assert 1 <= len(cue.lines) <= rules.max_lines
        assert all(0 < len(line) <= rules.max_line_chars for line in cue.lines)
        assert all(line == line.strip() for line in cue.lines)
        assert rules.min_cue_s <= length_s <= rules.max_cue_s
        assert len(" ".join(cue.lines)) <= rules.most_chars_per_s * length_s + 1e-6
    assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(cues))


LONG = (
    "he wrote a long letter to his brother on the first day of winter and when it was done he went"
    " down to the harbour where the last ship of the year was waiting for the wind"
)


def test_a_long_segment_is_cut_where_the_speaker_pauses() -> None:
    cues = CueBuilder().add(said(LONG, pauses=(13, 19)))
    check_rules(cues, CueRules())
    # Pauses follow "winter" and "he".
    assert shown(cues)[:2] == [
        "he wrote a long letter to his brother / on the first day of winter",
        "and when it was done he",
    ]
    assert " ".join(" ".join(cue.lines) for cue in cues) == LONG


def test_cues_stand_where_their_words_are_said() -> None:
    final = said(LONG, start_s=100.0, pauses=(13, 19))
    for cue in CueBuilder().add(final):
        first = cue.lines[0].split()[0]
        assert any(
            w.text == first and abs(w.start_s - cue.start_ms / 1000) < 0.002 for w in final.words
        )


def test_a_sentence_ends_a_cue_rather_than_an_article() -> None:
    text = "The ship was late. Nobody in the town had seen a thing like it before the war began."
    assert shown(CueBuilder(CueRules(max_lines=1)).add(said(text)))[0] == "The ship was late."
    cut = CueBuilder(CueRules(max_lines=1)).add(said(LONG))
    assert not [line for line in shown(cut) if line.split()[-1] in {"the", "a", "of", "his", "and"}]


def test_a_short_word_is_seen_for_a_second_and_the_next_waits() -> None:
    builder = CueBuilder()
    (first,) = builder.add(Final(0, 1.0, 1.3, "Yes.", words=(Word("Yes.", 1.05, 1.25),)))
    (second,) = builder.add(Final(1, 1.5, 2.0, "No.", words=(Word("No.", 1.6, 1.9),)))
    assert (first.start_ms, first.end_ms) == (1050, 2050)
    assert second.start_ms == 2050


def test_fast_speech_is_shown_slower_than_it_is_said() -> None:
    cues = CueBuilder().add(said(LONG, word_s=0.12))
    check_rules(cues, CueRules())
    assert cues[-1].end_ms > 1000 * 36 * 0.12


def test_without_word_times_text_is_spread_by_letters() -> None:
    cues = CueBuilder().add(Final(0, 10.0, 22.0, LONG))
    check_rules(cues, CueRules())
    assert cues[0].start_ms == 10_000 and cues[-1].end_ms <= 22_000
    assert " ".join(" ".join(cue.lines) for cue in cues) == LONG


def test_words_that_are_not_those_of_the_text_are_not_used() -> None:
    final = Final(0, 0.0, 2.0, "one two", words=(Word("three", 50.0, 51.0),))
    assert shown(CueBuilder().add(final)) == ["one two"]


def test_what_no_line_holds_is_cut() -> None:
    cues = CueBuilder().add(Final(0, 0.0, 20.0, "x" * 500))
    check_rules(cues, CueRules())
    assert "".join("".join(cue.lines) for cue in cues) == "x" * 500


def test_text_without_spaces_is_joined_without_them() -> None:
    words = tuple(Word(char, i * 0.3, i * 0.3 + 0.3) for i, char in enumerate("今日はいい天気"))
    assert shown(CueBuilder().add(Final(0, 0.0, 2.1, "今日はいい天気", words=words))) == [
        "今日はいい天気"
    ]


texts = st.lists(st.text(min_size=1, max_size=60), max_size=30).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_rules_hold_for_whatever_is_said(data: st.DataObject) -> None:
    rules = data.draw(
        st.builds(
            CueRules,
            max_line_chars=st.sampled_from([10, 42]),
            max_lines=st.integers(1, 3),
            max_cue_s=st.sampled_from([2.0, 7.0]),
        )
    )
    builder, cues, all_text, at_s = CueBuilder(rules), [], "", 0.0
    for _ in range(data.draw(st.integers(1, 3))):
        text = data.draw(texts)
        final = Final(0, at_s, at_s + data.draw(st.floats(0, 20)), text)
        if data.draw(st.booleans()) and text.split():
            pace = random.Random(data.draw(st.integers(0, 99)))
            words, now_s = [], at_s
            for word in text.split():
                begin_s = now_s + pace.choice([0.0, 0.05, 1.0])
                now_s = begin_s + pace.choice([0.0, 0.1, 0.4, 9.0])
                words.append(Word(word, begin_s, now_s))
            final = Final(0, at_s, now_s, text, words=tuple(words))
        at_s = final.end_s
        cues += builder.add(final)
        all_text += text
    check_rules(cues, rules)
    assert "".join("".join("".join(c.lines).split()) for c in cues) == "".join(all_text.split())


@given(
    words=st.lists(st.text("xyz", min_size=1, max_size=10), min_size=1, max_size=12),
    n=st.integers(10, 30),
)
def test_lines_are_few_and_even(words: list[str], n: int) -> None:
    spaced = [("" if not at else " ", word) for at, word in enumerate(words)]
    lines = wrap(spaced, n, 99)
    assert " ".join(lines) == " ".join(words) and max(map(len, lines)) <= n
    assert len(lines) == least_lines(spaced, n)
    # No other way to break into as many lines is more even.
    for cuts in itertools.combinations(range(1, len(words)), len(lines) - 1):
        parts = [
            " ".join(words[a:b])
            for a, b in itertools.pairwise([0, *cuts, len(words)])
        ]  # fmt: skip
        if max(map(len, parts)) <= n:
            assert sum(len(p) ** 2 for p in lines) <= sum(len(p) ** 2 for p in parts)


@pytest.mark.parametrize(
    "wrong", [{"max_line_chars": 5}, {"max_lines": 0}, {"max_cue_s": 1.0}, {"min_cue_s": 9.0},
              {"chars_per_s": 30.0}, {"max_cue_s": float("nan")}],
)  # fmt: skip
def test_rules_that_nothing_can_keep_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        CueRules(**wrong)  # type: ignore[arg-type]
