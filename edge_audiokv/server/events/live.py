"""The one session that listens to this machine's microphone, as all its clients see it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from starlette.types import Message

from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.events import Answer, Event, Final, SessionEnded
from edge_audiokv.output.text import one_line
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.events.source import UntilTold
from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.jobs import Item, Job
from edge_audiokv.server.service import Service

log = logging.getLogger("edge_audiokv.server")
# Questions that wait for their answer.
MAX_QUESTIONS = 4
# Of what was said, for who stops: half an hour of talk.
MAX_SAID_CHARS = 32 << 10
OpenSource = Callable[[str | int | None], AudioSource]


class _Said:
    """The newest final texts, in bounds."""

    def __init__(self) -> None:
        self.is_cut = False
        self._texts: deque[str] = deque()
        self._n_chars = 0

    def add(self, text: str) -> None:
        if not (text := one_line(text)):
            return
        self._texts.append(text)
        self._n_chars += len(text) + 1
        while self._n_chars > MAX_SAID_CHARS:
            self._n_chars -= len(self._texts.popleft()) + 1
            self.is_cut = True

    def __str__(self) -> str:
        return " ".join(self._texts)


class _Run:
    """From `listen` to its SessionEnded. Questions are answered between two blocks of sound."""

    def __init__(self, source: UntilTold) -> None:
        self.source = source
        # The session that it has, once there is one.
        self.engine: Engine | None = None
        self.opened, self.over = asyncio.Event(), asyncio.Event()
        self.stopping = False
        self.ended: SessionEnded | None = None
        self.reason = "stopped"
        self.n_segments = 0
        self.said = _Said()
        self.questions: deque[tuple[str, asyncio.Future[Answer]]] = deque()


class Live:
    """Starts and stops it, on the event loop; `tell` gets every event there.

    One at a time; while it lasts it has a session of the model to itself. `open_source` makes a
    source for the device that a client names, and is all that a client can have opened.
    """

    def __init__(
        self, service: Service, open_source: OpenSource, tell: Callable[[Event], None]
    ) -> None:
        self._service = service
        self._open_source = open_source
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._run: _Run | None = None
        self._following: asyncio.Task[None] | None = None
        self._closed = False

    # --- commands ---------------------------------------------------------------------------------

    async def listen(self, device: str | int | None) -> dict[str, Any]:
        """Open the device and begin. Raises EdgeAudioKVError, or ApiError if the model is busy."""
        if self._run is not None:
            raise EdgeAudioKVError(
                f"It listens to {self._run.source.describe()} already.",
                cure="Stop that first: edge-audiokv client stop",
            )
        service = self._service
        with ExitStack() as stack:
            service.enter_live(stack, listens=True)
            run = self._run = _Run(UntilTold(self._open_source(device), lambda: self._end(run)))
            try:
                await asyncio.to_thread(run.source.open)
            except BaseException:
                self._run = None
                run.over.set()
                raise
            finally:
                run.opened.set()
            stack.callback(run.source.close)
            job = service.submit(
                lambda engine, job: self._hear(run, engine, job),
                stack,
                "device",
                ready=lambda: run.source.is_ready,
                behind_s=lambda: run.source.behind_s,
            )
        self._following = asyncio.create_task(self._follow(run, job))
        return self.status()

    async def stop(self) -> dict[str, Any]:
        """Let what was said so far be heard, then end. Its text. Raises EdgeAudioKVError."""
        run = self._listening()
        if run.stopping:
            raise EdgeAudioKVError("It is being stopped already.", cure="Wait for session-ended.")
        run.stopping = True
        await self._finish(run)
        told: dict[str, Any] = {"state": "idle", "text": str(run.said)}
        # Only then is it not all that was said.
        return {**told, "cut": True} if run.said.is_cut else told

    async def toggle(self, device: str | int | None) -> dict[str, Any]:
        """Listen, or stop if it listens."""
        return await (self.listen(device) if self._run is None else self.stop())

    async def ask(self, question: str) -> dict[str, Any]:
        """Answer from what was heard since `listen`. Raises EdgeAudioKVError."""
        run = self._listening()
        if len(run.questions) >= MAX_QUESTIONS:
            raise EdgeAudioKVError(
                f"{MAX_QUESTIONS} other questions wait for their answers.", cure="Ask again later."
            )
        answered: asyncio.Future[Answer] = self._loop.create_future()
        run.questions.append((question, answered))
        answer = await answered
        told = answer.to_dict()
        return {name: told[name] for name in ("text", "heard", "declined", "time_s", "sources")}

    def status(self) -> dict[str, Any]:
        """How things stand."""
        engine, run = self._service.engine, self._run
        report = engine.report()
        told: dict[str, Any] = {
            "state": "idle",
            **engine.facts,
            "cap_bytes": report.cap_bytes,
            "rss_bytes": report.rss_bytes,
            "fault": self._service.worker.fault,
        }
        if run is None:
            return told
        state = "listening" if run.opened.is_set() else "starting"
        return {
            **told,
            "state": "stopping" if run.stopping else state,
            "device": run.source.describe(),
            "clock_s": round(0.0 if run.engine is None else run.engine.heard_s, 3),
            "segments": run.n_segments,
        }

    async def close(self) -> None:
        """The server stops: what was said is still told."""
        if self._run is not None:
            if not self._run.stopping:
                self._run.reason = "the server stopped"
            self._run.stopping = True
            await self._finish(self._run)

    def _listening(self) -> _Run:
        if self._run is None:
            raise EdgeAudioKVError(
                "Nothing is being listened to.", cure="Begin: edge-audiokv client listen"
            )
        return self._run

    async def _finish(self, run: _Run) -> None:
        await run.opened.wait()
        run.source.end()
        await run.over.wait()

    # --- on the model's thread --------------------------------------------------------------------

    def _hear(self, run: _Run, engine: Engine, job: Job) -> Iterator[Item | None]:
        run.engine = engine
        padding_s = engine.endpoint.suffix_padding_ms / 1000

        def on_event(event: Event) -> None:
            if isinstance(event, SessionEnded):
                self._answer(run, engine)  # what was asked before the sound was over
            if isinstance(event, Final):
                late_s = run.source.arrivals.since_s(event.end_s - padding_s)
                self._service.latencies.observe("events", late_s)
            self._on_loop(self._heard, run, event)

        def between(_samples: Samples) -> None:
            job.check()
            self._answer(run, engine)

        yield from engine.listen(run.source, on_event, between)

    def _end(self, run: _Run) -> None:
        if run.engine is not None:
            run.engine.end(run.reason)

    def _answer(self, run: _Run, engine: Engine) -> None:
        while run.questions:
            question, answered = run.questions.popleft()
            try:
                answer = engine.answer(question)
            except EdgeAudioKVError as error:
                self._on_loop(_settle, answered, error)
            except BaseException:
                self._on_loop(_settle, answered, _unanswered())
                raise
            else:
                self._on_loop(_settle, answered, answer)

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(call, *args)

    # --- on the loop ------------------------------------------------------------------------------

    def _heard(self, run: _Run, event: Event) -> None:
        if run.ended is not None or run.over.is_set():
            return
        if isinstance(event, SessionEnded):
            run.ended = event
            return
        if isinstance(event, Final):
            run.n_segments += bool(event.text.strip())
            run.said.add(event.text)
        self._tell(event)

    async def _follow(self, run: _Run, job: Job) -> None:
        """Until the job is over, however it ends; then nothing of the session is left, and who is
        told of its end may begin the next.
        """
        reason = "ended"
        try:
            async for _ in job.items(_never):
                pass
        except ApiError as error:
            reason = error.message
        except EdgeAudioKVError as error:
            reason = str(error)
        except Exception as error:
            # Its text may hold what was said.
            reason = "an internal error; the server's log has it"
            log.debug("where", exc_info=error)
        finally:
            while run.questions:
                _settle(run.questions.popleft()[1], _unanswered())
            self._run = None
            run.over.set()
            heard_s = 0.0 if run.engine is None else run.engine.heard_s
            self._tell(run.ended or SessionEnded(heard_s, run.n_segments, reason))


def _settle(answered: asyncio.Future[Answer], result: Answer | Exception) -> None:
    if answered.done():
        return
    if isinstance(result, Exception):
        answered.set_exception(result)
    else:
        answered.set_result(result)


def _unanswered() -> EdgeAudioKVError:
    return EdgeAudioKVError("It stopped to listen before that was answered.", cure="Begin again.")


async def _never() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}
