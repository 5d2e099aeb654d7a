"""A long session in a short time: hours of sound fed as fast as it is heard, with the books kept.

Every simulated minute the kernel is asked for resident memory, beside the session's own ledger; if
a server has the session, of the server. A live listener is simulated with the time that each second
of sound took: how far a microphone would have been ahead, and whether its ring would have
overflowed. Turns of speech are scored as they end (word errors after Whisper's normaliser,
`wer.py`), a minute's sums are kept, texts are not: the books of an hour take a few kB.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.errors import OutputError
from edge_audiokv.eval.listener import Listener
from edge_audiokv.eval.programme import Piece, Programme
from edge_audiokv.eval.reminder import REMINDER_TURN, Reminded, Reminder
from edge_audiokv.eval.wer import Hypothesis, Utterance, normalise, score_clip
from edge_audiokv.events import Final
from edge_audiokv.files import write_whole

# The microphone's ring: what is further behind is lost.
RING_S = 30.0
# One second of sound that takes longer than this is a stall, whatever else the machine does.
STALL_S = 10.0
_SETTLED_S = 600.0
_REHEARSED_PIECES = 16
# A final may end this long after its turn's last sample.
_LATE_S = 0.5


@dataclass(frozen=True)
class Minute:
    """The books of one simulated minute; `words` and `edits` are of the turns that ended in it.

    `anonymous_bytes` is the share of `rss_bytes` that is no mapped file: where leaks would show.
    """

    time_s: float
    rss_bytes: int
    anonymous_bytes: int
    ledger_bytes: int
    behind_s: float
    compute_s: float
    rows: int
    words: int
    edits: int


@dataclass(frozen=True)
class SoakReport:
    """What a soak shows. Rates are shares; `slope_mb_per_h` leaves out the first ten minutes.

    `wer_last` is of the last block that was heard in full and sounds like the first; None before.
    `answers` are those about what was said once, at `asked_about_s` (None: nothing was).
    """

    cap_bytes: int
    peak_rss_bytes: int
    simulated_s: float
    planned_s: float
    wall_s: float
    block_s: float
    slope_mb_per_h: float
    ledger_off_share: float
    wer_first: float
    wer_last: float | None
    wer: float
    wer_of_blocks: tuple[float, ...]
    words: int
    segments: int
    insertions_outside_speech: int
    shifts: int
    evictions: int
    freed_bytes: int
    stalls: int
    longest_step_s: float
    furthest_behind_s: float
    dropped_samples: int
    realtime_factor: float
    guarded: int
    settings: dict[str, Any]
    asked_about_s: float | None
    answers: tuple[Reminded, ...] = field(repr=False)
    minutes: tuple[Minute, ...] = field(repr=False)

    @property
    def complete(self) -> bool:
        """The whole programme was heard, its last block included."""
        return self.simulated_s >= self.planned_s - 1.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "complete": self.complete}

    def lines(self) -> list[str]:
        """For people, one figure a line."""
        mb = 1e-6
        return [
            f"heard             {self.simulated_s / 3600:.2f} h of {self.planned_s / 3600:.2f} h"
            f" in {self.wall_s / 3600:.2f} h",
            f"peak RSS          {self.peak_rss_bytes * mb:.1f} MB of {self.cap_bytes * mb:.0f} MB",
            f"RSS slope         {self.slope_mb_per_h:+.2f} MB/h after the first 10 minutes",
            f"ledger - RSS      at most {self.ledger_off_share:.1%}",
            f"WER               {self.wer_first:.1%} in the first {self.block_s / 60:.0f} min, "
            + (f"{self.wer_last:.1%} when they came last, " if self.wer_last is not None else "")
            + f"{self.wer:.1%} over all, {self.words} words",
            f"segments          {self.segments}, guard stepped in {self.guarded} times, "
            f"{self.insertions_outside_speech} words heard outside speech",
            f"cache             {self.evictions} evictions, {self.freed_bytes * mb:.0f} MB freed, "
            f"positions shifted {self.shifts} times",
            f"time              realtime factor {self.realtime_factor:.3f}, longest second "
            f"{self.longest_step_s:.2f} s, {self.stalls} stalls over {STALL_S:.0f} s",
            f"live microphone   {self.furthest_behind_s:.1f} s behind at most, "
            f"{self.dropped_samples} samples dropped",
            *self._answer_lines(),
        ]

    def _answer_lines(self) -> list[str]:
        if self.asked_about_s is None:
            return []
        right = sum(answer.right for answer in self.answers)
        said = f"{right} of {len(self.answers)} right about minute {self.asked_about_s / 60:.0f}"
        if self.answers:
            last = self.answers[-1]
            said += f', the last at minute {last.time_s / 60:.0f}: "{last.text}"'
        return [f"answers           {said}"]


def rehearse(programme: Programme) -> None:
    """Play and score a little of `programme` to nobody, before the session is loaded: the player's
    libraries and tables are then part of what runs already, not of what a session grows by.
    """
    for piece in islice(programme.pieces(), _REHEARSED_PIECES):
        normalise(piece.text)
    score_clip(Utterance("", Path(), "one word", ""), Hypothesis("one"))


class Soak:
    """Plays `programme` to a `listener` that is loaded. `report()` answers at any time."""

    def __init__(
        self,
        listener: Listener,
        programme: Programme,
        *,
        reminder: Reminder | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.listener, self.programme, self.reminder = listener, programme, reminder
        self.minutes: list[Minute] = []
        self._settings = settings or {}
        self._wait_s = listener.longest_s + 2.0
        self._over = False
        self._started = time.perf_counter()
        self._heard_samples = 0
        self._compute_s = self._minute_compute_s = 0.0
        self._behind_s = self._furthest_s = self._longest_s = 0.0
        self._dropped = self._stalls = self._outside = 0
        self._segments = 0
        self._books = np.zeros((programme.n_blocks, 2), np.int64)
        self._score = (0, 0)
        # Turns whose finals may still come: start, end, text so far, what was heard.
        self._turns: deque[_Turn] = deque()

    def run(self, on_minute: Callable[[SoakReport], None] | None = None) -> SoakReport:
        """Everything, to the end. KeyboardInterrupt leaves `report()` with what there is."""
        for piece in self._pieces():
            self._expect(piece)
            for start in range(0, len(piece.samples), SAMPLE_RATE_HZ):
                self._feed(piece.samples[start : start + SAMPLE_RATE_HZ])
                if self._heard_s >= 60.0 * (len(self.minutes) + 1):
                    self._keep_books()
                    self._ask()
                    if on_minute is not None:
                        on_minute(self.report())
        self._take(self.listener.finish())
        self._settle(float("inf"))
        self._over = True
        return self.report()

    def report(self) -> SoakReport:
        """What is known now."""
        totals = self.listener.totals()
        # A block's last turns are scored a little after its end.
        n_heard = int((self._heard_s - self._wait_s) / self.programme.block_s)
        n_heard = self.programme.n_blocks if self._over else n_heard
        rates = [_rate(book) for book in self._books]
        again = [block for block in range(1, n_heard) if self.programme.repeats(block)]
        return SoakReport(
            cap_bytes=self.listener.cap_bytes,
            peak_rss_bytes=totals.peak_rss_bytes,
            simulated_s=round(self._heard_s, 1),
            planned_s=self.programme.duration_s,
            wall_s=round(time.perf_counter() - self._started, 1),
            block_s=self.programme.block_s,
            slope_mb_per_h=slope_mb_per_h(self.minutes),
            ledger_off_share=max(
                (abs(m.ledger_bytes / m.rss_bytes - 1) for m in self.minutes), default=0.0
            ),
            wer_first=rates[0],
            wer_last=rates[again[-1]] if again else None,
            wer_of_blocks=tuple(rates[:n_heard]),
            wer=_rate(self._books.sum(axis=0)),
            words=int(self._books[:, 0].sum()),
            segments=self._segments,
            insertions_outside_speech=self._outside,
            shifts=totals.shifts,
            evictions=totals.evictions,
            freed_bytes=totals.freed_bytes,
            stalls=self._stalls,
            longest_step_s=self._longest_s,
            furthest_behind_s=self._furthest_s,
            dropped_samples=self._dropped,
            realtime_factor=self._compute_s / max(self._heard_s, 1e-9),
            guarded=totals.guarded,
            settings=self._settings,
            asked_about_s=None if self.reminder is None else self.reminder.said_s,
            answers=() if self.reminder is None else tuple(self.reminder.answers),
            minutes=tuple(self.minutes),
        )

    @property
    def _heard_s(self) -> float:
        # Sums of seconds would drift off the ends of blocks.
        return self._heard_samples / SAMPLE_RATE_HZ

    def _pieces(self) -> Iterator[Piece]:
        for piece in self.programme.pieces():
            yield piece
            if self.reminder is not None and piece.last:
                said = self.reminder.piece(self._heard_s)
                if said is not None:
                    yield said

    def _ask(self) -> None:
        if self.reminder is None or not self.reminder.is_due(self._heard_s):
            return
        started = time.perf_counter()
        answer = self.listener.ask(self.reminder.question)
        self.reminder.take(answer, self._heard_s, time.perf_counter() - started)

    def _expect(self, piece: Piece) -> None:
        if piece.turn < 0:
            return
        end_s = self._heard_s + len(piece.samples) / SAMPLE_RATE_HZ
        if self._turns and self._turns[-1].turn == piece.turn:
            self._turns[-1].reference += f" {piece.text}"
            self._turns[-1].end_s = end_s
        else:
            self._turns.append(_Turn(piece.turn, self._heard_s, end_s, piece.text))

    def _feed(self, samples: Any) -> None:
        started = time.perf_counter()
        finals = self.listener.feed(samples)
        took_s = time.perf_counter() - started
        length_s = len(samples) / SAMPLE_RATE_HZ
        self._heard_samples += len(samples)
        self._compute_s += took_s
        self._minute_compute_s += took_s
        self._longest_s = max(self._longest_s, took_s)
        self._stalls += took_s > STALL_S
        # While this was heard, a microphone would have gone on.
        self._behind_s = max(0.0, self._behind_s + took_s - length_s)
        if self._behind_s > RING_S:
            self._dropped += int((self._behind_s - RING_S) * SAMPLE_RATE_HZ)
            self._behind_s = RING_S
        self._furthest_s = max(self._furthest_s, self._behind_s)
        self._take(finals)
        self._settle(self._heard_s)

    def _take(self, finals: Sequence[Final]) -> None:
        for final in finals:
            self._segments += 1
            middle_s = (final.start_s + final.end_s) / 2
            for turn in self._turns:
                if turn.start_s - _LATE_S <= middle_s <= turn.end_s + _LATE_S:
                    turn.heard.append(final.text)
                    break
            else:
                n_words = len(normalise(final.text).split())
                self._outside += n_words
                self._count(middle_s, 0, n_words)

    def _settle(self, now_s: float) -> None:
        """Score the turns that can get no more text: longest segment and silence have passed."""
        while self._turns and self._turns[0].end_s + self._wait_s < now_s:
            turn = self._turns.popleft()
            if turn.turn == REMINDER_TURN:  # no part of the programme: no block is judged by it
                continue
            clip = Utterance(str(turn.turn), Path(), turn.reference, "")
            score = score_clip(clip, Hypothesis(" ".join(turn.heard)))
            self._count(turn.start_s, score.words, score.edits)

    def _count(self, time_s: float, words: int, edits: int) -> None:
        if self.reminder is not None:
            time_s -= self.reminder.beside_s(time_s)
        block = min(int(time_s / self.programme.block_s), self.programme.n_blocks - 1)
        self._books[block] += (words, edits)
        self._score = (self._score[0] + words, self._score[1] + edits)

    def _keep_books(self) -> None:
        books = self.listener.books()
        self.minutes.append(
            Minute(
                round(self._heard_s, 1),
                books.rss_bytes,
                books.anonymous_bytes,
                books.ledger_bytes,
                round(self._behind_s, 2),
                round(self._minute_compute_s, 2),
                books.rows,
                *self._score,
            )
        )
        self._minute_compute_s, self._score = 0.0, (0, 0)


@dataclass
class _Turn:
    turn: int
    start_s: float
    end_s: float
    reference: str
    heard: list[str] = field(default_factory=list)


def slope_mb_per_h(minutes: Sequence[Minute]) -> float:
    """Theil-Sen: the median of the slopes of all pairs of minutes, in MB (1e6 bytes) an hour.

    Leaves out the first ten minutes, or the first half of a shorter run.
    """
    if not minutes:
        return 0.0
    begin_s = min(_SETTLED_S, minutes[-1].time_s / 2)
    kept = [minute for minute in minutes if minute.time_s >= begin_s]
    if len(kept) < 2:
        return 0.0
    hours = np.array([minute.time_s / 3600 for minute in kept])
    size_mb = np.array([minute.rss_bytes / 1e6 for minute in kept])
    first, second = np.triu_indices(len(kept), 1)
    slopes = (size_mb[second] - size_mb[first]) / (hours[second] - hours[first])
    return float(np.median(slopes))


def write_report(report: SoakReport, path: Path) -> None:
    """The report as JSON, whole or not at all. Raises OutputError."""
    try:
        write_whole(path, json.dumps(report.to_dict(), indent=1) + "\n")
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror}.", cure="Choose another place."
        ) from None


def _rate(book: Any) -> float:
    # With no words to hear, every word heard is counted against one.
    return float(book[1]) / max(1.0, float(book[0]))
