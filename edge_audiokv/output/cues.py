"""Text with times cut into subtitles by the usual rules, for all subtitle formats.

The rules are those that broadcasters and streaming services publish: at most two lines of 42
characters, 1 to 7 seconds, 17 to 20 characters a second where the speech allows, cuts at pauses and
between phrases, no overlap. A cut is the cheapest of all that keep the rules (dynamic programming
over the words of a segment).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_audiokv.errors import InputError
from edge_audiokv.events import Final
from edge_audiokv.output.lines import leans, least_lines, wrap

# A cue shows nothing in the last moments before the next one, or the eye misses the change.
_GAP_MS = 80
# Shorter holes than this between two cues flicker: the first one stays.
_HOLE_MS = 500
# A pause this long ends a phrase, one twice as long a thought.
_PAUSE_S = 0.3
# Nobody speaks slower; a segment that lasts longer is silent at its end.
_SLOWEST_S_PER_CHAR = 0.2
# Latin and full-width marks.
_SENTENCE_ENDS = tuple(".!?…。\uff01\uff1f")
_PHRASE_ENDS = tuple(",;:—\u2013\uff0c\u3001\uff1b\uff1a")
_CLOSING = "\"')»”\u2019"


@dataclass(frozen=True)
class CueRules:
    """What a cue may be. All hold for whatever text comes; to keep them, a cue may come late.

    max_line_chars, max_lines   size of a cue
    max_cue_s, min_cue_s        how long it is seen
    chars_per_s                 reading speed that a cue is given where speech leaves room
    most_chars_per_s            and the most that it is ever given
    """

    max_line_chars: int = 42
    max_lines: int = 2
    max_cue_s: float = 7.0
    min_cue_s: float = 1.0
    chars_per_s: float = 17.0
    most_chars_per_s: float = 25.0

    def __post_init__(self) -> None:
        """Raises InputError for rules that nothing can keep."""
        if not 10 <= self.max_line_chars <= 500:
            raise InputError(f"max_line_chars is {self.max_line_chars}.", cure="Use 10 to 500.")
        if not 1 <= self.max_lines <= 10:
            raise InputError(f"max_lines is {self.max_lines}.", cure="Use 1 to 10.")
        if not 2 <= self.max_cue_s <= 60:
            raise InputError(f"max_cue_s is {self.max_cue_s}.", cure="Use 2 to 60 seconds.")
        if not 0 < self.min_cue_s <= self.max_cue_s:
            raise InputError(f"min_cue_s is {self.min_cue_s}.", cure="Use up to max_cue_s.")
        if not 1 <= self.chars_per_s <= self.most_chars_per_s:
            raise InputError("chars_per_s is above most_chars_per_s, or below 1.")

    @property
    def max_chars(self) -> int:
        """Characters that can be read while a cue is seen."""
        return int(self.most_chars_per_s * self.max_cue_s)


@dataclass(frozen=True)
class Cue:
    """Lines that are seen from `start_ms` to `end_ms`."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """What is never cut: a word, or a part of one that no line could hold. `space` goes before."""

    text: str
    start_s: float
    end_s: float
    space: str


class CueBuilder:
    """Cues of one segment after another; what they show never overlaps."""

    def __init__(self, rules: CueRules | None = None) -> None:
        self.rules = rules or CueRules()
        self._shown_ms = 0

    def add(self, final: Final) -> list[Cue]:
        """The cues of `final`, the next segment. They are known at once: the last one is seen past
        the end of the segment only as long as it must be, and then the next one comes later.
        """
        units = list(_units(final, self.rules.max_line_chars))
        groups = _cut(units, self.rules) if units else []
        starts_s = [group[0].start_s for group in groups]
        cues = []
        for group, after_s in zip(groups, [*starts_s[1:], None], strict=False):
            cues.append(self._timed(group, after_s, final.end_s))
        return cues

    def _timed(self, group: Sequence[_Unit], after_s: float | None, end_s: float) -> Cue:
        rules = self.rules
        lines = wrap(_words(group), rules.max_line_chars, rules.max_lines)
        n_chars = sum(map(len, lines)) + len(lines) - 1
        start_ms = max(_ms(group[0].start_s), self._shown_ms)
        said_ms = _ms(group[-1].end_s)
        must_ms = max(math.ceil(1000 * n_chars / rules.most_chars_per_s), _ms(rules.min_cue_s))
        want_ms = max(must_ms, math.ceil(1000 * n_chars / rules.chars_per_s), said_ms - start_ms)
        # Where the next one begins; after the last, the silence that belongs to the segment.
        room_ms = _ms(end_s) if after_s is None else _ms(after_s) - _GAP_MS
        end_ms = min(start_ms + want_ms, max(room_ms, said_ms))
        if after_s is not None and 0 < room_ms - end_ms < _HOLE_MS:
            end_ms = room_ms
        end_ms = min(max(end_ms, start_ms + must_ms), start_ms + int(1000 * rules.max_cue_s))
        self._shown_ms = end_ms
        return Cue(start_ms, end_ms, lines)


def _ms(time_s: float) -> int:
    return round(1000 * time_s)


def _words(group: Sequence[_Unit]) -> list[tuple[str, str]]:
    """(space before, text) of each unit; none before the first."""
    return [(unit.space if at else "", unit.text) for at, unit in enumerate(group)]


def _units(final: Final, max_chars: int) -> Iterator[_Unit]:
    """The words of `final` with the times that it tells, or spread by letters if it tells none."""
    for space, text, start_s, end_s in _timed_words(final):
        for at in range(0, len(text), max_chars):
            part = text[at : at + max_chars]
            step_s = (end_s - start_s) / len(text)
            begin_s = start_s + at * step_s
            yield _Unit(part, begin_s, begin_s + len(part) * step_s, "" if at else space)


def _timed_words(final: Final) -> Iterator[tuple[str, str, float, float]]:
    """(space before, text, start_s, end_s) of all that `final` says."""
    at = 0
    for word in final.words:
        begin = final.text.find(word.text, at)
        # Words that are not those of the text: its own are spread instead.
        if begin < 0 or final.text[at:begin].strip():
            break
        at = begin + len(word.text)
    if final.words and not final.text[at:].strip():
        at = 0
        for word in final.words:
            begin = final.text.index(word.text, at)
            yield final.text[at:begin] and " ", word.text, word.start_s, word.end_s
            at = begin + len(word.text)
        return
    length_s = max(0.0, final.end_s - final.start_s)
    step_s = min(length_s / max(1, len(final.text)), _SLOWEST_S_PER_CHAR)
    for found in re.finditer(r"\S+", final.text):
        begin_s = final.start_s + found.start() * step_s
        yield " ", found.group(), begin_s, final.start_s + found.end() * step_s


def _cut(units: Sequence[_Unit], rules: CueRules) -> list[Sequence[_Unit]]:
    """The cheapest cues that hold all units, each within the rules."""
    n = len(units)
    breaks = [_break_cost(units, end) for end in range(n + 1)]
    best = [0.0] + [math.inf] * n
    came = [0] * (n + 1)
    for start in range(n):
        inner = 0.0
        for end in range(start + 1, n + 1):
            if end > start + 1:
                pause_s = units[end - 1].start_s - units[end - 2].end_s
                inner += max(0.0, pause_s - _PAUSE_S)
            group = units[start:end]
            if end > start + 1 and not _fits(group, rules):
                break
            after_s = units[end].start_s if end < n else math.inf
            cost = best[start] + _cost(group, after_s, inner, rules) + breaks[end]
            if cost < best[end]:
                best[end], came[end] = cost, start
    groups: list[Sequence[_Unit]] = []
    end = n
    while end:
        groups.append(units[came[end] : end])
        end = came[end]
    return groups[::-1]


def _fits(group: Sequence[_Unit], rules: CueRules) -> bool:
    words = _words(group)
    if group[-1].end_s - group[0].start_s > rules.max_cue_s:
        return False
    if sum(len(space) + len(text) for space, text in words) > rules.max_chars:
        return False
    return least_lines(words, rules.max_line_chars) <= rules.max_lines


def _cost(group: Sequence[_Unit], after_s: float, inner_s: float, rules: CueRules) -> float:
    """Of a cue by itself: one more to read, seen too briefly, too short, or torn by a pause."""
    n_chars = sum(len(space) + len(text) for space, text in _words(group))
    room_s = min(after_s - group[0].start_s, rules.max_cue_s)
    cost = 1.0 + 2 * inner_s
    cost += 4 * max(0.0, rules.min_cue_s - room_s) / rules.min_cue_s
    cost += 3 * max(0.0, n_chars / max(room_s, 0.01) / rules.chars_per_s - 1)
    return cost + max(0.0, 1 - n_chars / 20)


def _break_cost(units: Sequence[_Unit], end: int) -> float:
    """Of a cut before unit `end`: least after a pause or a sentence, most within a phrase."""
    if end == len(units):
        return 0.0
    text = units[end - 1].text.rstrip(_CLOSING)
    if text.endswith(_SENTENCE_ENDS):
        return 0.0
    pause = (units[end].start_s - units[end - 1].end_s) / (2 * _PAUSE_S)
    cost = 2.0 * (1 - min(max(pause, 0.0), 1.0))
    if text.endswith(_PHRASE_ENDS):
        return min(cost, 0.4)
    return cost + (1.5 if leans(text) else 0.0)
