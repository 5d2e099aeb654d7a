"""Word error rate over a manifest, normalised as Whisper's authors do, with intervals.

WER = (substitutions + deletions + insertions) / reference words, summed over the clips. Texts are
compared after the English normaliser of Radford et al. 2022 (arXiv:2212.04356, appendix C), by the
`whisper-normalizer` package; alignment by `jiwer`. Intervals: bootstrap over clips (Bisani and Ney
2004), 95 % percentiles, seeded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.errors import InputError, MissingExtraError
from edge_audiokv.manifest import clip_of, read_lines

if TYPE_CHECKING:
    from edge_audiokv.engine.transcriber import Transcriber

RESAMPLES = 2000
LOOP_NGRAM = 4


@dataclass(frozen=True)
class Utterance:
    """One clip of a manifest and what is said in it; `recording` is what it was cut from."""

    id: str
    path: Path
    text: str
    speaker: str
    recording: str = ""


@dataclass(frozen=True)
class Hypothesis:
    """What was heard; `flags` are those of the engine's guard."""

    text: str
    flags: tuple[str, ...] = ()


Transcribe = Callable[[Path], Hypothesis]


def hear_with(transcriber: Transcriber) -> Transcribe:
    """The whole real path: file, speech detection, decoding; segments joined by spaces."""

    def hear(path: Path) -> Hypothesis:
        finals = list(transcriber.transcribe(path))
        flags = tuple(flag for final in finals for flag in final.flags)
        return Hypothesis(" ".join(final.text for final in finals), flags)

    return hear


def hear_whole_with(transcriber: Transcriber) -> Transcribe:
    """Each clip decoded at once, without speech detection: the model alone."""

    def hear(path: Path) -> Hypothesis:
        decoded = transcriber.recognizer.recognize(read_all(path)).decoded
        return Hypothesis(decoded.text, decoded.flags)

    return hear


@dataclass(frozen=True)
class ClipScore:
    """Word edits between one reference and one hypothesis, both normalised."""

    id: str
    speaker: str
    reference: str
    hypothesis: str
    words: int
    substitutions: int
    deletions: int
    insertions: int
    loop_cut_edits: int
    flags: tuple[str, ...]
    audio_s: float
    compute_s: float

    @property
    def edits(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WerReport:
    """Scores of a whole set. Rates are shares (0.27 is 27 %); intervals hold 95 %."""

    name: str
    clips: int
    words: int
    wer: float
    wer_low: float
    wer_high: float
    wer_loop_cut: float
    substitutions: int
    deletions: int
    insertions: int
    guarded_clips: int
    audio_s: float
    compute_s: float
    by_speaker: dict[str, float]
    scores: tuple[ClipScore, ...] = field(repr=False)

    @property
    def realtime_factor(self) -> float:
        return self.compute_s / self.audio_s if self.audio_s else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the score of every clip."""
        return {**asdict(self), "realtime_factor": self.realtime_factor}


def read_manifest(
    path: Path,
    *,
    speakers: Sequence[str] = (),
    per_speaker: int | None = None,
    limit: int | None = None,
) -> list[Utterance]:
    """The clips of a JSONL manifest: `path` (relative to it), `text`, and maybe `speaker`,
    `recording`, `id`.

    `speakers` keeps only those, `per_speaker` the first so many of each, `limit` the first so many
    of what is kept. Raises InputError with the line if one cannot be used, or if nothing is left.
    """
    clips = []
    n_heard: Counter[str] = Counter()
    for number, data in read_lines(path):
        audio, text = clip_of(data, path, number)
        speaker = str(data.get("speaker", ""))
        if speakers and speaker not in speakers:
            continue
        n_heard[speaker] += 1
        if per_speaker is None or n_heard[speaker] <= per_speaker:
            clip_id = str(data.get("id", Path(audio).stem))
            recording = str(data.get("recording", ""))
            clips.append(Utterance(clip_id, path.parent / audio, text, speaker, recording))
    if not clips:
        known = f" of {', '.join(speakers)}" if speakers else ""
        raise InputError(f"{path} has no clips{known}.", cure="Check --manifest and --speaker.")
    return clips[:limit]


def normalise(text: str) -> str:
    """`text` as Whisper's English normaliser leaves it: lower case, no punctuation, digits."""
    return str(_normaliser()(text)).strip()


def cut_loop(text: str, ngram: int = LOOP_NGRAM) -> str:
    """`text` up to the first `ngram` words that occurred before, as a strict guard cuts."""
    words = text.split()
    seen: set[tuple[str, ...]] = set()
    for start in range(len(words) - ngram + 1):
        gram = tuple(words[start : start + ngram])
        if gram in seen:
            return " ".join(words[:start])
        seen.add(gram)
    return text


def score_clip(
    utterance: Utterance, hypothesis: Hypothesis, *, audio_s: float = 0.0, compute_s: float = 0.0
) -> ClipScore:
    """Edits of one clip. Silence (an empty reference) counts every heard word as an insertion."""
    reference, heard = normalise(utterance.text), normalise(hypothesis.text)
    substitutions, deletions, insertions = _edits(reference, heard)
    return ClipScore(
        id=utterance.id,
        speaker=utterance.speaker,
        reference=reference,
        hypothesis=heard,
        words=len(reference.split()),
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        loop_cut_edits=sum(_edits(reference, cut_loop(heard))),
        flags=hypothesis.flags,
        audio_s=audio_s,
        compute_s=compute_s,
    )


def evaluate(
    name: str,
    utterances: Sequence[Utterance],
    transcribe: Transcribe,
    *,
    on_clip: Callable[[ClipScore], None] | None = None,
) -> WerReport:
    """Transcribe every clip and score it; `on_clip` sees each score as it comes."""
    scores = []
    for utterance in utterances:
        started = time.perf_counter()
        hypothesis = transcribe(utterance.path)
        score = score_clip(
            utterance,
            hypothesis,
            audio_s=_duration_s(utterance.path),
            compute_s=time.perf_counter() - started,
        )
        scores.append(score)
        if on_clip is not None:
            on_clip(score)
    return summarise(name, scores)


def summarise(name: str, scores: Sequence[ClipScore]) -> WerReport:
    """One report of many clips."""
    words = np.array([score.words for score in scores])
    edits = np.array([score.edits for score in scores])
    low, high = bootstrap_interval(edits, words)
    speakers = sorted({score.speaker for score in scores})
    return WerReport(
        name=name,
        clips=len(scores),
        words=int(words.sum()),
        wer=_rate(edits.sum(), words.sum()),
        wer_low=low,
        wer_high=high,
        wer_loop_cut=_rate(sum(score.loop_cut_edits for score in scores), words.sum()),
        substitutions=sum(score.substitutions for score in scores),
        deletions=sum(score.deletions for score in scores),
        insertions=sum(score.insertions for score in scores),
        guarded_clips=sum(bool(score.flags) for score in scores),
        audio_s=sum(score.audio_s for score in scores),
        compute_s=sum(score.compute_s for score in scores),
        by_speaker={
            speaker: _rate(
                sum(score.edits for score in scores if score.speaker == speaker),
                sum(score.words for score in scores if score.speaker == speaker),
            )
            for speaker in speakers
        },
        scores=tuple(scores),
    )


def bootstrap_interval(
    edits: NDArray[np.int64], words: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of sum(edits) / sum(words) when clips [N] are drawn anew with replacement."""
    n_clips = len(edits)
    if not n_clips:
        return 0.0, 0.0
    rng = np.random.default_rng(seed)
    rates = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = rng.integers(0, n_clips, n_clips)
        rates[index] = _rate(edits[drawn].sum(), words[drawn].sum())
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def _rate(edits: float, words: float) -> float:
    # With no words to hear, every word heard is counted against one.
    return float(edits) / max(1.0, float(words))


def _edits(reference: str, hypothesis: str) -> tuple[int, int, int]:
    if not reference:
        return 0, 0, len(hypothesis.split())
    try:
        import jiwer
    except ImportError:
        raise _missing("jiwer") from None
    result = jiwer.process_words(reference, hypothesis)
    return result.substitutions, result.deletions, result.insertions


@cache
def _normaliser() -> Any:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise _missing("whisper-normalizer") from None
    return EnglishTextNormalizer()


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"Measuring word errors needs {package}.", cure="Run `pip install 'edge-audiokv[eval]'`."
    )


def _duration_s(path: Path) -> float:
    return float(soundfile.info(str(path)).duration)
