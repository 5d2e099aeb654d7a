"""One Wyoming client: what it asks for and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import ExitStack, aclosing
from typing import Any

from starlette.types import Message
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.error import Error
from wyoming.event import Eventable, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info
from wyoming.ping import Pong

from edge_audiokv import __version__
from edge_audiokv.server import transcriptions
from edge_audiokv.server.body import ClientGone
from edge_audiokv.server.engine import Engine, known_language
from edge_audiokv.server.faults import ApiError, refused
from edge_audiokv.server.names import TRANSCRIBERS, check_model
from edge_audiokv.server.service import Service
from edge_audiokv.server.sound import Sound
from edge_audiokv.server.wyoming.form import LEAST_PACE, form_of
from edge_audiokv.server.wyoming.frames import Frame, FrameReader, WatchedReader

log = logging.getLogger("edge_audiokv.server")
_PROJECT = Attribution("edge-audiokv", "")
_LINGER_S, _DISCARDED_BYTES = 1.0, 65536


class Connection:
    """Answers one client until it leaves, or does what ends it: each refusal does."""

    def __init__(
        self, service: Service, stream: WatchedReader, writer: asyncio.StreamWriter
    ) -> None:
        limits = service.limits
        self._service = service
        self._stream, self._writer = stream, writer
        self._frames = FrameReader(stream, idle_s=limits.send_s, frame_s=limits.body_pause_s)
        self._language = ""
        # The utterance that is coming in, and what is given back with it: its place and its file.
        self._sound: Sound | None = None
        self._held = ExitStack()
        self.answering = False

    async def run(self) -> None:
        try:
            while (frame := await self._frames.next()) is not None:
                await self._take(frame)
        except ApiError as error:
            with contextlib.suppress(OSError, TimeoutError):
                await self._tell(Error(error.message, error.code))
                await self._let_read()
        except (ClientGone, OSError):
            log.info("a client left before its answer")
        except Exception as error:
            log.error("a Wyoming connection failed: %s", type(error).__name__)
            log.debug("where", exc_info=error)
        finally:
            self._held.close()
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._service.limits.send_s):
                    await self._writer.wait_closed()
            self._writer.transport.abort()

    async def _let_read(self) -> None:
        """A connection that is closed on what nobody has read is reset, and who is still sending
        never sees why: so the rest is taken, for a moment, and thrown away.
        """
        self._held.close()
        self._writer.write_eof()
        async with asyncio.timeout(_LINGER_S):
            while await self._stream.read(_DISCARDED_BYTES):
                pass

    async def _take(self, frame: Frame) -> None:
        """One event. What is not known here is passed over, as the protocol wants it."""
        match frame.type:
            case "describe":
                await self._tell(info_of(self._service.engine))
            case "ping":
                text = frame.data.get("text")
                await self._tell(Pong(text if isinstance(text, str) else None))
            case "transcribe":
                self._ask(frame.data)
            case "audio-start":
                self._begin(frame.data)
            case "audio-chunk":
                await self._add(frame)
            case "audio-stop":
                await self._answer()

    def _ask(self, data: dict[str, Any]) -> None:
        engine = self._service.engine
        name, language = data.get("name"), data.get("language")
        if name:
            check_model(name, engine.name, TRANSCRIBERS)
        if language is not None and not isinstance(language, str):
            raise refused("language", "a code such as en.")
        if language and (why := known_language(engine, language)):
            raise refused("language", why)
        self._language = language or ""

    def _begin(self, data: dict[str, Any]) -> None:
        """A place for it before any of it is kept."""
        if self._sound is not None:
            raise refused("audio-start", "one utterance at a time.")
        self._service.enter(self._held)
        service = self._service
        self._sound = Sound(form_of(data), service.folder, service.limits, least_pace=LEAST_PACE)
        self._held.callback(self._sound.close)

    async def _add(self, frame: Frame) -> None:
        if self._sound is None:
            raise refused("audio-chunk", "audio-start comes first.")
        if form_of(frame.data) != self._sound.form:
            raise refused("audio-chunk", "its form is not that of audio-start.")
        async for piece in self._frames.payload():
            self._sound.write(piece)

    async def _answer(self) -> None:
        if self._sound is None:
            raise refused("audio-stop", "audio-start comes first.")
        sound, self._sound = self._sound, None
        file, ended_s = sound.finish(), time.monotonic()
        job = self._service.submit(transcriptions.steps(file), self._held, "audio")
        language = self._language or next(iter(self._service.engine.languages), "") or None
        self.answering = True
        try:
            await self._tell(TranscriptStart(language=language))
            async with aclosing(self._service.items(job, self._gone)) as items:
                async for document in transcriptions.deltas(items):
                    await self._tell_document(document, language)
            self._service.latencies.observe("wyoming", time.monotonic() - ended_s)
            await self._tell(TranscriptStop())
        finally:
            self._service.worker.withdraw(job)
            self.answering = False

    async def _tell_document(self, document: Any, language: str | None) -> None:
        if document["type"] == "transcript.text.delta":
            await self._tell(TranscriptChunk(document["delta"]))
        else:
            await self._tell(Transcript(document["text"], language=language))

    async def _gone(self) -> Message:
        await self._stream.gone.wait()
        return {"type": "http.disconnect"}

    async def _tell(self, event: Eventable) -> None:
        try:
            async with asyncio.timeout(self._service.limits.send_s):
                await async_write_event(event.event(), self._writer)
        except TimeoutError:
            raise ClientGone from None


def info_of(engine: Engine) -> Info:
    """What is served, of which nothing has to be loaded or asked."""
    model = AsrModel(
        name=engine.name,
        attribution=_PROJECT,
        installed=True,
        description="an audio language model within a fixed amount of memory",
        version=__version__,
        languages=list(engine.languages),
    )
    program = AsrProgram(
        name="edge-audiokv",
        attribution=_PROJECT,
        installed=True,
        description="speech to text on this machine",
        version=__version__,
        models=[model],
        supports_transcript_streaming=True,
    )
    return Info(asr=[program])
