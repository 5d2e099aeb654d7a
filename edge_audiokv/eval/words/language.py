"""How often the language check doubts: it should of other languages, not of the model's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.encoder.base import Encoder
from edge_audiokv.engine.finals.language import LEAST_SPOKEN_S, LanguageCheck
from edge_audiokv.eval.wer import Utterance


@dataclass(frozen=True)
class Doubt:
    """One recording: clips of one speaker in a row, just long enough for a judgement."""

    speaker: str
    first: str
    audio_s: float
    certainty: float
    warned: bool


@dataclass(frozen=True)
class DoubtReport:
    recordings: int
    audio_s: float
    warned: int
    scores: tuple[Doubt, ...] = field(repr=False)

    @property
    def warned_share(self) -> float:
        return self.warned / self.recordings if self.recordings else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"warned_share": self.warned_share, **asdict(self)}


def measure_doubt(
    clips: Sequence[Utterance],
    encoder: Encoder,
    languages: Sequence[str],
    *,
    on_clip: Callable[[str], None] = lambda _id: None,
) -> DoubtReport:
    """Warnings over `clips`, joined speaker by speaker; what is too short to judge is left out."""
    frame_s = 1 / encoder.tokens_per_second
    scores = []
    check, first, audio_s = LanguageCheck(languages, frame_s=frame_s), "", 0.0
    last_speaker: str | None = None
    for clip in clips:
        if clip.speaker != last_speaker:
            check, first, audio_s = LanguageCheck(languages, frame_s=frame_s), "", 0.0
        last_speaker, first = clip.speaker, first or clip.id
        samples = read_all(clip.path)
        audio_s += len(samples) / encoder.sample_rate_hz
        check.hear(encoder.hear(samples))
        if check.spoken_s >= LEAST_SPOKEN_S:
            warned = check.take_warning() is not None
            scores.append(Doubt(clip.speaker, first, audio_s, check.certainty, warned))
            check, first, audio_s = LanguageCheck(languages, frame_s=frame_s), "", 0.0
        on_clip(clip.id)
    return DoubtReport(
        len(scores),
        sum(score.audio_s for score in scores),
        sum(score.warned for score in scores),
        tuple(scores),
    )
