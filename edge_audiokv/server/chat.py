"""POST /v1/chat/completions: a question about sound, answered in one piece or as it is written."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

from starlette.responses import Response

from edge_audiokv.events import Final
from edge_audiokv.output.text import one_line
from edge_audiokv.server.chat_request import ChatRequest
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import json_response
from edge_audiokv.server.jobs import Answered, Growth, Heard, Item, Job, Steps


class _Enough(Exception):
    """The answer is as long as was asked for."""


def steps(request: ChatRequest) -> Steps:
    """The job: hear the clips, then answer."""

    def work(engine: Engine, job: Job) -> Iterator[Item | None]:
        said: list[str] = []
        for clip in request.clips:
            for event in engine.hear(clip, lambda: job.check(engine.heard_s)):
                if isinstance(event, Final) and (text := one_line(event.text)):
                    said.append(text)
                yield None
        yield Heard(engine.heard_s)
        if request.question:
            yield from asked(request, engine, job)
        else:
            yield _told(request, engine, " ".join(said))

    return work


def asked(
    request: ChatRequest,
    engine: Engine,
    job: Job,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Item]:
    """Answer from what the job has heard. `cancelled` is looked at after each token."""
    answer = _Answer(request)

    def on_text(text: str) -> None:
        job.check()
        if cancelled():
            answer.reason = "cancelled"
            raise _Enough
        answer.grow(text)
        if request.stream:
            job.tell(Growth(answer.told))

    try:
        text = engine.ask(request.question, on_text)
        # What the guard cut off at the end was not told yet.
        answer.end(text)
    except _Enough:
        pass
    n_prompt = engine.n_prompt_tokens(request.question)
    yield Answered(answer.text, answer.reason, n_prompt, answer.n_tokens)


def _told(request: ChatRequest, engine: Engine, text: str) -> Answered:
    """What was said is the answer to no question; it is cut as any other."""
    text, stopped = _cut(text, request.stops)
    reason, n_tokens = "stop", engine.n_tokens(text)
    if not stopped and request.max_tokens is not None and n_tokens > request.max_tokens:
        text, reason = engine.first_tokens(text, request.max_tokens), "length"
        n_tokens = request.max_tokens
    return Answered(text, reason, engine.n_prompt_tokens(""), n_tokens)


class _Answer:
    """An answer as it grows, token by token, and how much of it is told."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._hold_chars = max((len(stop) - 1 for stop in request.stops), default=0)
        self.text = self.told = ""
        self.reason = "stop"
        self.n_tokens = 0

    def grow(self, text: str) -> None:
        """Raises _Enough where a bound or a stop was reached."""
        self.n_tokens += 1
        self.text, stopped = _cut(text, self._request.stops)
        if stopped:
            raise _Enough
        if self._request.max_tokens is not None and self.n_tokens >= self._request.max_tokens:
            self.reason = "length"
            raise _Enough
        sure = self.text[: len(self.text) - self._hold_chars].rstrip("\ufffd")
        sure = _without_repeat(sure).rstrip()
        if sure.startswith(self.told):
            self.told = sure

    def end(self, text: str) -> None:
        self.text, _ = _cut(text, self._request.stops)


def _cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """`text` up to the first stop in it, and whether there is one."""
    at = min((found for stop in stops if (found := text.find(stop)) >= 0), default=-1)
    return (text, False) if at < 0 else (text[:at], True)


def _without_repeat(text: str) -> str:
    """`text` without the longest end of it that is written in it before: if it turns out to be a
    loop, that will be cut.
    """
    before, start = text[:-1], len(text)
    while start and text[start - 1 :] in before:
        start -= 1
    return text[:start]


# --- answers ----------------------------------------------------------------------------------


async def whole(items: AsyncIterator[Item], model: str) -> Response:
    """The answer, once it is complete. Raises ApiError."""
    answered = Answered("", "stop", 0, 0)
    async for item in items:
        if isinstance(item, Answered):
            answered = item
    head = _head(model, "chat.completion")
    message = {"role": "assistant", "content": answered.text, "refusal": None}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": answered.reason,
    }
    return json_response({**head, "choices": [choice], "usage": _usage(answered)})


async def chunks(
    items: AsyncIterator[Item], model: str, *, with_usage: bool
) -> AsyncGenerator[object]:
    """Chunks of a stream: the role, the text as it grows, why it ends, the usage if asked for."""
    head = _head(model, "chat.completion.chunk")
    extra = {"usage": None} if with_usage else {}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice], **extra}

    told, begun = "", False
    async for item in items:
        if not begun and not isinstance(item, Heard):
            begun = True
            yield chunk({"role": "assistant", "content": "", "refusal": None})
        if isinstance(item, Growth | Answered) and item.text.startswith(told):
            delta, told = item.text[len(told) :], item.text
            if delta:
                yield chunk({"content": delta})
        if isinstance(item, Answered):
            yield chunk({}, item.reason)
            if with_usage:
                yield {**head, "choices": [], "usage": _usage(item)}
    yield "[DONE]"


def _head(model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _usage(answered: Answered) -> dict[str, int]:
    return {
        "prompt_tokens": answered.n_prompt_tokens,
        "completion_tokens": answered.n_tokens,
        "total_tokens": answered.n_prompt_tokens + answered.n_tokens,
    }
