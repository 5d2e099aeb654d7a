"""A server without a model: an engine that follows a script, and a client in the same process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import httpx
import numpy as np

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.errors import InputError, NativeError, UnfitModelError
from edge_audiokv.events import (
    Answer,
    Event,
    Final,
    MemoryReport,
    Partial,
    SessionEnded,
    SpeechStarted,
    Warned,
    Word,
)
from edge_audiokv.server.app import make_app
from edge_audiokv.server.engine import Heads, Work
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.service import Service
from edge_audiokv.server.worker import Worker

BASE = "http://localhost"
FINALS = (
    Final(0, 0.5, 1.5, "first  words", words=(Word("first", 0.5, 1.0), Word("words", 1.0, 1.5)),
          confidence=0.9),
    Final(1, 2.0, 3.0, "then more", words=(Word("then", 2.0, 2.5), Word("more", 2.5, 3.0)),
          confidence=0.5),
)  # fmt: skip


class ScriptedEngine:
    """Hears the same in every file, unless the file's bytes ask for a failure.

    While `go` is cleared it stands still after its first step; `begun` is set by then. Of a live
    source it tells a partial and what `soon` holds at once, `finals` at its end; `crash` ends that.
    """

    name = "scripted"
    languages: tuple[str, ...] = ("en",)
    facts: ClassVar[dict[str, str | None]] = {"model": "scripted", "language": "en"}
    endpoint = EndpointConfig(max_segment_s=15.0)

    def __init__(self) -> None:
        self.finals: tuple[Final, ...] = FINALS
        self.warnings: tuple[str, ...] = ()
        self.answered = "a boat on the water"
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()
        self.heard: list[bytes] = []
        self.asked: list[str] = []
        self.files: list[BinaryIO] = []
        self.soon: deque[Event] = deque()
        self.crash = False
        self.reason = ""
        self.forgotten = 0
        self.heard_s = 0.0
        self.work = Work(audio_s=2.0, compute_s=1.0)
        rows = np.arange(6, dtype=np.int32).reshape(3, 2)
        self.heads: Heads | None = Heads(10 + rows, rows, rows + 1, np.full_like(rows, 64))
        # Live sound: how it was to be cut, what came, and the turn that is open.
        self.followed: list[EndpointConfig] = []
        self.fed: list[tuple[int, int]] = []
        self.shared: list[int] = []
        self.sound = hashlib.sha256()
        self.abandoned = 0
        self.live_text = "first words then more"
        self._open: SpeechStarted | None = None
        self._turns = self._pieces = 0

    def check_language(self, language: str) -> None:
        if language.split("-")[0] != "en":
            raise UnfitModelError(f"scripted does not know {language}; it lists English (en).")

    def hear(self, file: BinaryIO, check: Callable[[], None]) -> Iterator[Final | Warned | None]:
        self.files.append(file)
        data = file.read()
        self.heard.append(data)
        check()
        self.begun.set()
        self.go.wait(10)
        if data == b"not sound":
            raise InputError("the audio is not audio that can be read.", cure="Give WAV.")
        if data == b"crash":
            raise RuntimeError("what was said is secret")
        for final in self.finals:
            self.heard_s = final.end_s
            check()
            yield final
            yield None
        if data == b"breaks":
            raise NativeError("the library refused a call.")
        for message in self.warnings:
            yield Warned(self.heard_s, message)

    def follow(self, endpoint: EndpointConfig) -> list[Any]:
        self.followed.append(endpoint)
        return self.pause()

    def share(self, n_live: int, *, others_wait: bool = False) -> None:
        if self.shared[-1:] != [n_live]:
            self.shared.append(n_live)

    def feed(self, pcm: bytes, rate_hz: int, *, partials: bool) -> list[Any]:
        """Loud is speech, zeros are its end; each piece of speech has one word more."""
        self.begun.set()
        self.go.wait(10)
        self.sound.update(pcm)
        start_s, self.heard_s = self.heard_s, self.heard_s + len(pcm) / 2 / rate_hz
        self.fed.append((len(pcm), rate_hz))
        if not any(pcm):
            return self.pause()
        told: list[Any] = []
        if self._open is None:
            self._open = SpeechStarted(self._turns, start_s)
            self._turns, self._pieces = self._turns + 1, 0
            told.append(self._open)
        self._pieces += 1
        words = self.live_text.split()
        stable, text = " ".join(words[: self._pieces - 1]), " ".join(words[: self._pieces])
        if partials:
            told.append(Partial(self._open.id, self._open.start_s, self.heard_s, text, stable))
        return told

    def pause(self) -> list[Any]:
        started, self._open = self._open, None
        if started is None:
            return []
        return [Final(started.id, started.start_s, self.heard_s, self.live_text)]

    finish = pause

    def abandon(self) -> None:
        self.abandoned += 1
        self._open = None

    def ask(self, question: str, on_text: Callable[[str], None]) -> str:
        self.asked.append(question)
        if question == "too long":
            raise InputError("The question is too long.")
        words = self.answered.split(" ")
        for count in range(1, len(words) + 1):
            self.begun.set()
            self.go.wait(10)
            on_text(" ".join(words[:count]))
        return self.answered

    def listen(
        self,
        source: AudioSource,
        on_event: Callable[[Event], None],
        between: Callable[[Samples], None],
    ) -> Iterator[None]:
        self.reason, self.on_event = "end of the source", on_event
        self.heard.append(b"")
        with source:
            on_event(SpeechStarted(0, 0.5))
            on_event(Partial(0, 0.5, 1.0, "first"))
            while (samples := source.read(SAMPLE_RATE_HZ // 10)) is not None:
                self.begun.set()
                self.heard_s += len(samples) / SAMPLE_RATE_HZ
                self.heard[-1] += samples.tobytes()
                between(samples)
                while self.soon:
                    on_event(self.soon.popleft())
                if self.crash:
                    raise RuntimeError("what was said is secret")
                yield None
        for final in self.finals:
            on_event(final)
        on_event(SessionEnded(self.heard_s, len(self.finals), self.reason))

    def answer(self, question: str) -> Answer:
        if not question.strip():
            raise InputError("the question is empty.", cure="Ask something.")
        self.asked.append(question)
        answer = Answer(question, self.answered, self.heard_s)
        self.on_event(answer)
        return answer

    def end(self, reason: str) -> None:
        self.reason = reason

    def n_prompt_tokens(self, question: str) -> int:
        return 10 + len(question.split())

    def n_tokens(self, text: str) -> int:
        return len(text.split())

    def first_tokens(self, text: str, n_tokens: int) -> str:
        return " ".join(text.split()[:n_tokens])

    def forget(self) -> None:
        self.forgotten += 1
        self.heard_s = 0.0
        self._open = None

    def report(self) -> MemoryReport:
        return MemoryReport(0.0, 1000, 500, {"KV pools": 200, "weights": 300})


class Server:
    """The application with its worker; `request` is one exchange on a loop of its own."""

    def __init__(
        self,
        engine: ScriptedEngine,
        folder: Path,
        limits: Limits,
        guard: Guard,
        *,
        page: bool = False,
    ) -> None:
        self.engine = engine
        self.worker = Worker([engine], queue=limits.queue)
        self.service = Service(self.worker, folder, limits, guard, page=page)
        self.app = make_app(self.service)
        self.worker.start()

    def run(self, talk: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                result = await talk(client)
                await self.settled()
                return result

        return asyncio.run(main())

    async def settled(self) -> None:
        """Until every place has been given back."""
        async with asyncio.timeout(10):
            while self.worker.taken:
                await asyncio.sleep(0.005)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def talk(client: httpx.AsyncClient) -> httpx.Response:
            return await client.request(method, path, **options)

        response: httpx.Response = self.run(talk)
        return response

    def transcribe(self, data: bytes = b"sound", **fields: Any) -> httpx.Response:
        fields = {"model": "whisper-1", **fields}
        return self.request(
            "POST", "/v1/audio/transcriptions", files={"file": ("a.wav", data)}, data=fields
        )

    def chat(self, messages: Any, **fields: Any) -> httpx.Response:
        body = {"model": "scripted", "messages": messages, **fields}
        return self.request("POST", "/v1/chat/completions", json=body)


def documents(response: httpx.Response) -> list[Any]:
    """What a stream of events holds; texts that are not JSON stay texts."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.split("\n\n")[:-1]:
        assert block.startswith("data: ")
        text = block.removeprefix("data: ")
        found.append(json.loads(text) if text.startswith("{") else text)
    return found


def refusal(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer, which has OpenAI's form; its client repeats no request in vain."""
    document = response.json()
    assert list(document) == ["error"]
    error: dict[str, Any] = document["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str) and error["message"]
    again = response.headers.get("retry-after")
    assert (again is None) == (response.headers.get("x-should-retry") == "false")
    return error
