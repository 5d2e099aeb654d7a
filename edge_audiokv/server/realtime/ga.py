"""OpenAI's Realtime events, GA form: what each is called, and in which order they come.

Nothing else knows these names. Another dialect is another `Dialect`.
"""

from __future__ import annotations

import binascii
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from edge_audiokv.events import Final, Partial, SpeechStarted
from edge_audiokv.output.text import one_line
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import ApiError, refused
from edge_audiokv.server.jobs import (
    Answered,
    Cleared,
    Failed,
    Growth,
    Heard,
    Item,
    NothingOpen,
    Unanswered,
)
from edge_audiokv.server.names import COMMITTED, LIVE_CHATTERS, LIVE_TRANSCRIBERS, check_model
from edge_audiokv.server.realtime.dialect import Document
from edge_audiokv.server.realtime.fields import Fields, event_of
from edge_audiokv.server.realtime.g711 import to_pcm
from edge_audiokv.server.realtime.question import question_of, read_item
from edge_audiokv.server.realtime.response import Response
from edge_audiokv.server.realtime.session import Settings, updated
from edge_audiokv.server.realtime.wishes import Adjust, Append, Ask, Clear, Commit, Wish

PATH = "/v1/realtime"
_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"
_FAILED = "conversation.item.input_audio_transcription.failed"
_NOT_KEPT = "items are told and not kept."


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word)).lower()


class _Turn:
    """An utterance, and what has been told of its text."""

    def __init__(self) -> None:
        self.id = _id("item")
        self.told = ""
        self.text = ""

    def grow(self, text: str) -> str:
        """What to tell now that `text` is certain; what was told is not taken back, nor told again
        because the finished text has capitals and marks.
        """
        told, words = self.told.split(), text.split()
        if list(map(_letters, words[: len(told)])) != list(map(_letters, told)):
            return ""
        if text.startswith(self.told):
            delta = text[len(self.told) :]
        else:
            delta = "".join(f" {word}" for word in words[len(told) :])
        self.told = text
        return delta


class Ga:
    """See `Dialect`."""

    subprotocol = "realtime"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = Settings(_id("sess"), engine.name, engine.endpoint)
        self._event_id: str | None = None
        self._last_item: str | None = None
        # The turn that the server has found, and those that the client has committed.
        self._open: _Turn | None = None
        self._committed: deque[_Turn] = deque()
        self._question = ""
        self._response: Response | None = None
        self._asking: Ask | None = None

    def begin(self, query: Mapping[str, str]) -> tuple[Wish, list[Document]]:
        if query.get("intent", "transcription") != "transcription":
            raise refused("intent", "use transcription.")
        if model := query.get("model"):
            check_model(model, self._engine.name, (*LIVE_CHATTERS, *LIVE_TRANSCRIBERS))
            if model in COMMITTED:
                self._settings = replace(self._settings, model=model, endpoint=None)
        created = _event("session.created", session=self._settings.document())
        return Adjust(self._settings.endpoint), [created]

    # --- from the client --------------------------------------------------------------------------

    def read(self, text: str, *, uncommitted: bool) -> tuple[Wish | None, list[Document]]:
        self._event_id = None
        document = event_of(text)
        event_id = document.get("event_id")
        if isinstance(event_id, str):
            self._event_id = event_id[:512]
        event = Fields(document, "")
        event.take("event_id")
        kind = event.text("type")
        match kind:
            case "session.update":
                return self._update(event, uncommitted)
            case "input_audio_buffer.append":
                return self._append(event), []
            case "input_audio_buffer.commit":
                event.end()
                return Commit(), []
            case "input_audio_buffer.clear":
                event.end()
                return Clear(), []
            case "conversation.item.create":
                return None, self._say(event)
            case "response.create":
                return self._ask(event)
            case "response.cancel":
                self._cancel(event)
                return None, []
            case (
                "conversation.item.retrieve"
                | "conversation.item.delete"
                | "conversation.item.truncate"
            ):
                raise refused(kind, _NOT_KEPT, code="unsupported_event")
        raise ApiError(
            400,
            f"there is no event {kind[:80]!r}." if kind else "type: a text.",
            param="type",
            code="unknown_event" if kind else "invalid_value",
        )

    def _update(self, event: Fields, uncommitted: bool) -> tuple[Wish | None, list[Document]]:
        before, after = self._settings, updated(self._settings, event.take("session"), self._engine)
        event.end()
        heard_anew = (before.endpoint, before.format) != (after.endpoint, after.format)
        if heard_anew and uncommitted:
            raise refused(
                "session",
                "sound waits for a commit; commit or clear it first.",
                code="uncommitted",
            )
        self._settings = after
        told = [_event("session.updated", session=after.document())]
        return (Adjust(after.endpoint) if heard_anew else None), told

    def _append(self, event: Fields) -> Wish:
        text = event.take("audio")
        event.end()
        if not isinstance(text, str):
            raise ApiError(400, "audio: sound as base64.", param="audio", code="invalid_value")
        try:
            data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError):
            raise ApiError(400, "audio: not base64.", param="audio", code="invalid_value") from None
        return Append(to_pcm(data, self._settings.format), self._settings.rate_hz)

    def _say(self, event: Fields) -> list[Document]:
        event.take("previous_item_id")
        item = read_item(event.inner("item"))
        event.end()
        self._question = item.text
        return [*self._item(item.id or _id("item"), item.document)]

    def _ask(self, event: Fields) -> tuple[Wish, list[Document]]:
        if self._asking is not None:
            raise refused(
                "response.create",
                "there is a response already; wait for it, or cancel it.",
                code="conversation_already_has_active_response",
            )
        given = event.inner("response") if event.has("response") else Fields({}, "response")
        request = question_of(given, self._question)
        event.end()
        self._question = ""
        self._response = Response(_id("resp"), _id("item"), request.max_tokens)
        self._asking = Ask(request)
        return self._asking, [_event("response.created", response=self._response.document())]

    def _cancel(self, event: Fields) -> None:
        id = event.text("response_id")
        event.end()
        if self._asking is None or self._response is None or id not in ("", self._response.id):
            raise refused("response.cancel", "there is no such response.", code="no_response")
        self._asking.cancelled.set()

    # --- to the client ----------------------------------------------------------------------------

    def refused(self, error: ApiError, *, answers: bool = True) -> Document:
        what = {
            "type": error.kind,
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "event_id": self._event_id if answers else None,
        }
        return _event("error", error=what)

    def committed(self) -> list[Document]:
        turn = _Turn()
        self._committed.append(turn)
        return [*self._commit(turn)]

    def told(self, item: Item) -> list[Document]:
        return [*self._told(item)]

    def _told(self, item: Item) -> Iterator[Document]:
        match item:
            case SpeechStarted():
                self._open = _Turn()
                yield _event(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=round(item.start_s * 1000),
                    item_id=self._open.id,
                )
            case Partial():
                if self._open is not None:
                    yield from self._delta(self._open, one_line(item.stable))
            case Final():
                yield from self._final(item)
            case Heard():
                if self._committed:
                    yield self._completed(self._committed.popleft(), item.duration_s)
            case Failed():
                if self._committed:
                    yield self._failed(self._committed.popleft(), item.message)
            case Cleared():
                self._open = None
                yield _event("input_audio_buffer.cleared")
            case NothingOpen():
                yield self.refused(_nothing_to_commit(), answers=False)
            case Growth() | Answered() | Unanswered():
                if self._response is not None:
                    yield from self._responded(item, self._response)

    def _final(self, final: Final) -> Iterator[Document]:
        said = one_line(final.text)
        turn, self._open = self._open, None
        if turn is not None:
            yield _event(
                "input_audio_buffer.speech_stopped",
                audio_end_ms=round(final.end_s * 1000),
                item_id=turn.id,
            )
            yield from self._commit(turn)
            turn.text = said
            yield from self._delta(turn, said)
            yield self._completed(turn, final.end_s - final.start_s)
        elif self._committed and said:
            turn = self._committed[0]
            turn.text = f"{turn.text} {said}" if turn.text else said
            yield from self._delta(turn, turn.text)

    def _commit(self, turn: _Turn) -> Iterator[Document]:
        yield _event(
            "input_audio_buffer.committed", item_id=turn.id, previous_item_id=self._last_item
        )
        content = [{"type": "input_audio", "transcript": None}]
        yield from self._item(turn.id, {"role": "user", "content": content})

    def _item(self, id: str, what: Document) -> Iterator[Document]:
        before, self._last_item = self._last_item, id
        item = {
            "id": id, "object": "realtime.item", "type": "message", "status": "completed", **what
        }  # fmt: skip
        for kind in ("conversation.item.added", "conversation.item.done"):
            yield _event(kind, item=item, previous_item_id=before)

    def _delta(self, turn: _Turn, text: str) -> Iterator[Document]:
        if delta := turn.grow(text):
            yield _event(_DELTA, item_id=turn.id, content_index=0, delta=delta)

    def _completed(self, turn: _Turn, duration_s: float) -> Document:
        usage = {"type": "duration", "seconds": round(duration_s, 3)}
        return _event(
            _COMPLETED, item_id=turn.id, content_index=0, transcript=turn.text, usage=usage
        )

    def _failed(self, turn: _Turn, message: str) -> Document:
        error = {
            "type": "invalid_request_error", "code": "invalid_audio", "message": message,
            "param": None,
        }  # fmt: skip
        return _event(_FAILED, item_id=turn.id, content_index=0, error=error)

    def _responded(
        self, item: Growth | Answered | Unanswered, response: Response
    ) -> Iterator[Document]:
        for kind, fields in response.told(item, self._last_item):
            yield _event(kind, **fields)
            if kind == "response.output_item.added":
                self._last_item = response.item_id
        if not isinstance(item, Growth):
            self._response = self._asking = None


def _nothing_to_commit() -> ApiError:
    return ApiError(
        400,
        "the buffer holds no speech; at least 100 ms must be there.",
        code="input_audio_buffer_commit_empty",
    )


def _event(kind: str, **fields: Any) -> Document:
    return {"type": kind, "event_id": _id("event"), **fields}


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"
