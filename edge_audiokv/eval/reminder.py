"""One thing that a soak says near its beginning, once, and asks for ever after.

Everything else in a programme comes back every second hour: what is answered about it may have been
heard a moment ago. A spoken code is said once, is easy to hear, and its digits are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.calibrate.clips import spoken
from edge_audiokv.errors import InputError
from edge_audiokv.eval.programme import Piece
from edge_audiokv.eval.tasks import CODE, Task, is_right, spoken_code
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.events import Answer

SAID_AT_S = 300.0
_REST_S = 2.0
# What follows falls on the same frames of the voice detector (512 samples) and of encoders as it
# would without the code: blocks that sound alike are cut alike.
_GRID_SAMPLES = 4 * SAMPLE_RATE_HZ
# No turn of a programme has this number.
REMINDER_TURN = 1 << 40


@dataclass(frozen=True)
class Reminded:
    """The question, asked at `time_s`; `from_s` is when the first source was said, None if the
    answer names none. `took_s` is the time until the answer was there.
    """

    time_s: float
    text: str
    right: bool
    from_s: float | None
    took_s: float


class Reminder:
    """Says `clip` once, at the first pause after `SAID_AT_S` (half of a shorter `duration_s`), and
    asks for its code `every_s` from then on. Raises InputError if the clip says no code.
    """

    def __init__(self, clip: Utterance, *, every_s: float, duration_s: float) -> None:
        self.digits = spoken_code(spoken(clip.text))
        if not self.digits:
            raise InputError(
                f'The clip {clip.id} says no code: "{clip.text}".',
                cure='Its text must hold the word "code" and at least three digits as words.',
            )
        self.clip, self.every_s = clip, every_s
        self.said_s: float | None = None
        self.answers: list[Reminded] = []
        self._from_s = min(SAID_AT_S, duration_s / 2)
        self._due_s = self._length_s = 0.0

    def piece(self, now_s: float) -> Piece | None:
        """The code, if it is to be said in this pause."""
        if self.said_s is not None or now_s < self._from_s:
            return None
        self.said_s, self._due_s = now_s, now_s + self.every_s
        rest = np.zeros(int(_REST_S * SAMPLE_RATE_HZ), np.float32)
        sound = np.concatenate([rest, read_all(self.clip.path), rest])
        sound = np.pad(sound, (0, -len(sound) % _GRID_SAMPLES))
        self._length_s = len(sound) / SAMPLE_RATE_HZ
        return Piece("speech", sound, self.clip.text, REMINDER_TURN, last=True)

    def is_due(self, now_s: float) -> bool:
        return self.said_s is not None and now_s >= self._due_s

    def beside_s(self, time_s: float) -> float:
        """Seconds of the code before `time_s`, which are none of the programme."""
        if self.said_s is None:
            return 0.0
        return min(max(0.0, time_s - self.said_s), self._length_s)

    @property
    def question(self) -> str:
        return CODE

    def take(self, answer: Answer, now_s: float, took_s: float) -> None:
        self._due_s += self.every_s
        right = is_right(Task("code", CODE, self.digits), answer.text)
        from_s = answer.sources[0].start_s if answer.sources else None
        self.answers.append(Reminded(round(now_s, 1), answer.text, right, from_s, round(took_s, 2)))
