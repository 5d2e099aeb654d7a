"""A model that says what a test tells it to: the parts of an engine without weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from edge_audiokv.archive.recording import Recording
from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.cache import CacheStats
from edge_audiokv.engine.decoding.choose import Chooser, WordsHeard
from edge_audiokv.engine.hearing import Hearing
from edge_audiokv.engine.memory.session_memory import SessionCaches
from edge_audiokv.engine.prompt import PromptTemplate
from edge_audiokv.engine.recall.opening import recall_from
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.events import MemoryReport
from edge_audiokv.models.prompt import Prompt
from edge_audiokv.models.token_rule import TokenRule

RATE_HZ = 16_000
END = 0
SOUND = -1


class Characters:
    """A vocabulary of ASCII characters; token 0 ends the turn."""

    answer_tags = ""

    n_ctx_train = 2048

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return [ord(char) for char in text]

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def is_end_of_generation(self, token: int) -> bool:
        return token == END

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int:
        return 0


class Script:
    """What is said next; the last line is said again and again."""

    def __init__(self, *lines: str) -> None:
        self.lines = deque(lines)

    def next_line(self) -> str:
        return self.lines.popleft() if len(self.lines) > 1 else self.lines[0]


class ScriptedCache:
    """Counts positions and rows like a real cache, and answers from a script."""

    def __init__(self, script: Script, *, n_rows: int = 4096) -> None:
        self.script, self.n_rows = script, n_rows
        self.stats = CacheStats()
        self.controller = SimpleNamespace(settings=SimpleNamespace(n_sinks=4))
        self.next_position = 0
        self.rows = 0
        # Tokens at every position, SOUND for audio.
        self.held: list[int] = []
        self.n_adopted = 0
        self.observing, self.n_forgotten = True, 0
        self._saying: deque[int] = deque()

    @property
    def context(self) -> SimpleNamespace:
        return SimpleNamespace(
            shape=SimpleNamespace(row_bytes=256),
            counts=np.full((1, 1), self.rows),
            free_rows=self.n_rows - self.rows,
        )

    def forget_scores(self) -> None:
        self.n_forgotten += 1

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        self.observing = False
        yield
        self.observing = True

    def clear(self) -> None:
        self.next_position = self.rows = 0
        self.held.clear()

    @property
    def text(self) -> str:
        """What stands at all positions; sound is not written."""
        return "".join(chr(token) for token in self.held if token != SOUND)

    def make_room(self, n_tokens: int) -> None:
        excess = self.rows + n_tokens - self.n_rows
        if excess > 0:
            self.rows -= excess
            self.stats.freed_rows += excess

    def _append(self, ids: Sequence[int]) -> None:
        self.make_room(len(ids))
        self.next_position += len(ids)
        self.rows += len(ids)
        self.held += ids

    def append_tokens(self, ids: Sequence[int], kind: object) -> None:
        self._append(ids)

    def append_embeddings(self, embeddings: np.ndarray) -> None:
        self._append([SOUND] * len(embeddings))

    can_turn = True

    @property
    def is_whole(self) -> bool:
        return self.rows == self.next_position

    def can_adopt(self, turn: ScriptedCache) -> bool:
        return turn.is_whole

    def adopt(self, turn: ScriptedCache, embeddings: np.ndarray | None = None) -> None:
        assert turn.held.count(SOUND) == (0 if embeddings is None else len(embeddings))
        self._append(turn.held)
        self.n_adopted += 1
        turn.clear()

    def ask(self, ids: Sequence[int]) -> np.ndarray:
        self._append(ids)
        self._saying = deque([*map(ord, self.script.next_line()), END])
        return self._logits()

    finish_prompt = ask

    def append_generated(self, ids: Sequence[int]) -> np.ndarray:
        self._append(ids)
        return self._logits()

    def read_back(self, ids: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Tokens again, each looking at the end of what is there: the sound was used up."""
        for token in ids:
            self._append([token])
            positions = np.arange(self.next_position, dtype=np.int32)[None, None]
            yield np.zeros(512, np.float32), positions / positions.sum(), positions

    def append_draft(
        self, ids: Sequence[int], logits: np.ndarray, chooser: Chooser
    ) -> tuple[int, np.ndarray]:
        accepted = 0
        while accepted < len(ids) and chooser.pick(logits) == ids[accepted]:
            logits = self.append_generated(ids[accepted : accepted + 1])
            accepted += 1
        return accepted, logits

    def _logits(self) -> np.ndarray:
        logits = np.zeros(128, np.float32)
        logits[self._saying.popleft()] = 1.0
        return logits

    def truncate(self, position: int) -> None:
        self.rows -= self.next_position - position
        self.next_position = position
        del self.held[position:]

    def shift(self, delta: int, *, first: int) -> None:
        self.next_position -= delta
        del self.held[first : first + delta]
        self.rows = min(self.rows, self.next_position)
        self.stats.shifts += 1

    def squeeze(self, placement: str, *, recent_tokens: int, limit: int) -> None:
        # The scripted rows have one order and no head of their own: the oldest make room.
        self.shift(self.next_position - limit, first=4)


class LoudIsSpeech:
    """A voice detector for made-up sound."""

    def probabilities(self, frames: np.ndarray) -> np.ndarray:
        return (np.abs(frames).mean(axis=1) > 0.1).astype(np.float32)

    def reset(self) -> None:
        pass


def scripted_hearing(
    alone: Script,
    rolling: Script | None = None,
    *,
    n_rows: int = 4096,
    max_segment_s: float = 5.0,
    recording: Recording | None = None,
    least_evidence: float = 0.0,
    **settings: object,
) -> Hearing:
    """A Hearing whose single segments say `alone`, and whose memory says `rolling`. What is kept in
    `recording` is recalled for questions.
    """
    template = PromptTemplate.of(
        Prompt(
            "<u>{audio}\n{question}</u><a>",
            "</a>",
            "Transcribe the audio.",
            least_evidence=least_evidence,
        )
    )

    def rows(samples: np.ndarray) -> np.ndarray:
        return np.zeros((max(1, len(samples) // 1280), 4), np.float32)

    encoder = SimpleNamespace(
        sample_rate_hz=RATE_HZ,
        tokens_per_second=12.5,
        rule=TokenRule(),
        words=(),
        encode=rows,
        hear=lambda samples: Sound.of(rows(samples)),
    )
    llm_alone = WordsHeard((), Characters(), weight=0.0, floor=0.1)
    runtime = SimpleNamespace(
        model=Characters(),
        template=template,
        encoder=encoder,
        words=(),
        hear=lambda samples, final: encoder.hear(samples),
        words_heard=llm_alone,
        settings=EngineSettings(),
        local=SimpleNamespace(entry=SimpleNamespace(languages=())),
    )
    caches = SessionCaches(
        scratch=ScriptedCache(alone),  # type: ignore[arg-type]
        memory=ScriptedCache(rolling or alone, n_rows=n_rows),  # type: ignore[arg-type]
        max_turn_tokens=200,
    )
    return Hearing(
        runtime,  # type: ignore[arg-type]
        caches,
        LoudIsSpeech(),  # type: ignore[arg-type]
        SessionSettings(endpoint=EndpointConfig(max_segment_s=max_segment_s), **settings),  # type: ignore[arg-type]
        lambda: MemoryReport(0.0, 1, 1, {}),
        recording,
        recall_from(recording, runtime) if recording is not None else None,  # type: ignore[arg-type]
    )


def speech(duration_s: float) -> np.ndarray:
    """Loud samples, float32 [S]."""
    return np.full(int(duration_s * RATE_HZ), 0.5, np.float32)


def silence(duration_s: float) -> np.ndarray:
    return np.zeros(int(duration_s * RATE_HZ), np.float32)
