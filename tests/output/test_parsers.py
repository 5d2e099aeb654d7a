"""What players read in our subtitles: three parsers agree, and the rules hold in what they see."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.eval.words.subtitles import PARSERS, report_cues
from edge_audiokv.events import Final, Word
from edge_audiokv.output.cues import Cue, CueRules
from edge_audiokv.output.target import open_output

TALK = (
    "he wrote a long letter to his brother on the first day of winter and when it was done he went"
    " down to the harbour where the last ship of the year was waiting for the wind"
)


def finals(text: str, *, word_s: float, n: int) -> list[Final]:
    said, at_s = [], 0.5
    for number in range(n):
        words = []
        for word in text.split():
            words.append(Word(word, at_s, at_s + word_s))
            at_s += word_s
        start_s = words[0].start_s
        said.append(Final(number, start_s, at_s, text, words=tuple(words), confidence=1.0))
        at_s += 0.1
    return said


@pytest.mark.parametrize("name", ["srt", "vtt"])
@pytest.mark.parametrize("word_s", [0.1, 0.35, 2.0])
def test_three_parsers_see_the_same_cues_by_the_rules(
    tmp_path: Path, name: str, word_s: float
) -> None:
    path = tmp_path / f"talk.{name}"
    with open_output(path, name) as writer:
        for final in finals(TALK, word_s=word_s, n=4):
            writer.write(final)
    names = [parser for parser in PARSERS if parser != "srt" or name == "srt"]
    read = [PARSERS[parser](path) for parser in names]
    assert len(read) == (3 if name == "srt" else 2)
    assert all(cues == read[0] for cues in read)
    report = report_cues(read[0])
    assert report.cues >= 8 and report.faults(CueRules()) == []
    assert " ".join(" ".join(cue.lines) for cue in read[0]) == " ".join([TALK] * 4)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=120))
def test_any_text_is_read_back_by_the_strictest(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("srt") / "x.srt"
    with open_output(path, "srt") as writer:
        writer.write(Final(0, 0.0, 9.0, text))
    shown = "".join("".join(cue.lines) for cue in PARSERS["srt"](path))
    assert "".join(shown.split()) == "".join(text.replace("-->", "->").split())


def test_broken_rules_are_named() -> None:
    good = Cue(0, 1000, ("a",))
    assert report_cues([good, Cue(1000, 2000, ("b",))]).faults(CueRules()) == []
    for bad in (
        Cue(500, 1500, ("overlaps",)),
        Cue(1000, 1500, ("short",)),
        Cue(1000, 9000, ("long",)),
        Cue(1000, 2000, ("fast " * 8,)),
        Cue(1000, 7000, ("x" * 43,)),
        Cue(1000, 7000, ("a", "b", "c")),
    ):
        assert len(report_cues([good, bad]).faults(CueRules())) == 1, bad
    assert report_cues([]).faults(CueRules()) == []
