"""What a chat asks: clips of sound and a question about them; or a field that is refused."""

from __future__ import annotations

import binascii
import re
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import ApiError, refused
from edge_audiokv.server.json_body import LongTexts
from edge_audiokv.server.limits import MAX_CLIPS, MAX_MESSAGES, Limits
from edge_audiokv.server.names import CHATTERS, check_model
from edge_audiokv.server.spool import Spool

MAX_STOPS = 4
MAX_STOP_CHARS = 64
_PIECE_CHARS = 1 << 16
_DATA_URL = re.compile(rb"data:[\w.+/;= -]{0,80};base64,", re.ASCII)
_MODEL_DOES = "this model writes the likeliest text;"
# The values of a field that ask for nothing else than what is done anyway.
ONLY: dict[str, tuple[tuple[object, ...], str]] = {
    "audio": ((), "answers are text."),
    "frequency_penalty": ((0,), f"{_MODEL_DOES} only 0 can be asked for."),
    "function_call": (("none", "auto"), "this model calls no functions."),
    "functions": (([],), "this model calls no functions."),
    "logit_bias": (({},), f"{_MODEL_DOES} it takes no bias."),
    "logprobs": ((False,), "log probabilities are not told."),
    "modalities": ((["text"],), 'answers are text; use ["text"].'),
    "moderation": ((), "nothing is moderated here."),
    "n": ((1,), "there is one answer; use 1."),
    "prediction": ((), "no prediction is used."),
    "presence_penalty": ((0,), f"{_MODEL_DOES} only 0 can be asked for."),
    "reasoning_effort": (("none",), "this model does not reason."),
    "response_format": (({"type": "text"},), "answers are plain text."),
    "store": ((False,), "nothing is stored."),
    "temperature": ((0,), f"{_MODEL_DOES} only 0 can be asked for."),
    "tool_choice": (("none", "auto"), "this model calls no tools."),
    "tools": (([],), "this model calls no tools."),
    "top_logprobs": ((0,), "log probabilities are not told."),
    "top_p": ((1,), f"{_MODEL_DOES} only 1 can be asked for."),
    "verbosity": ((), "answers are as long as they are."),
    "web_search_options": ((), "nothing is searched."),
}


@dataclass
class ChatRequest:
    """`clips` are heard in order, then `question` is asked; without one, what they say is told."""

    clips: list[BinaryIO] = field(default_factory=list)
    question: str = ""
    stops: tuple[str, ...] = ()
    max_tokens: int | None = None
    stream: bool = False
    with_usage: bool = False


def read_chat(
    body: dict[str, Any],
    texts: LongTexts,
    engine: Engine,
    limits: Limits,
    folder: Path,
    stack: ExitStack,
) -> ChatRequest:
    """Raises ApiError that names the field which cannot be honoured. `stack` closes the clips.

    Answers are given from the sound of all messages and the last user's text. What was asked and
    answered before is not shown to the model: each question is answered afresh.
    """
    check_model(body.get("model"), engine.name, CHATTERS)
    for name, (allowed, why) in ONLY.items():
        value = body.get(name)
        if value is not None and not any(same(value, one) for one in allowed):
            raise refused(name, why)
    request = ChatRequest(
        stops=_stops(body.get("stop")),
        max_tokens=_max_tokens(body),
        stream=_flag(body.get("stream"), "stream"),
        with_usage=_with_usage(body),
    )
    _Messages(request, texts, limits, folder, stack).read(body.get("messages"))
    return request


def same(value: object, allowed: object) -> bool:
    """Equal as JSON is."""
    # True equals 1 in Python, and no client means that.
    return isinstance(value, bool) == isinstance(allowed, bool) and value == allowed


def _flag(value: object, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise refused(name, "use true or false.", code="invalid_value")
    return value is True


def _max_tokens(body: dict[str, Any]) -> int | None:
    given = []
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise refused(name, "use a whole number of at least 1.", code="invalid_value")
        given.append(value)
    return min(given, default=None)


def _stops(value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    stops = given if isinstance(given, list) else []
    fits = given is None or isinstance(given, list)
    fits = fits and len(stops) <= MAX_STOPS
    if not (fits and all(isinstance(x, str) and 0 < len(x) <= MAX_STOP_CHARS for x in stops)):
        raise refused(
            "stop", f"use up to {MAX_STOPS} texts of 1 to {MAX_STOP_CHARS} characters each."
        )
    return tuple(stops)


def _with_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict) or body.get("stream") is not True:
        raise refused("stream_options", "an object, and only with stream.", code="invalid_value")
    if _flag(options.get("include_obfuscation"), "stream_options.include_obfuscation"):
        raise refused("stream_options.include_obfuscation", "nothing is padded.")
    return _flag(options.get("include_usage"), "stream_options.include_usage")


class _Messages:
    """Collects clips and the last question."""

    def __init__(
        self,
        request: ChatRequest,
        texts: LongTexts,
        limits: Limits,
        folder: Path,
        stack: ExitStack,
    ) -> None:
        self._request, self._texts = request, texts
        self._limits, self._folder, self._stack = limits, folder, stack

    def read(self, messages: object) -> None:
        if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
            raise ApiError(
                400, f"messages: a list of 1 to {MAX_MESSAGES} messages.", param="messages"
            )
        role = None
        for number, message in enumerate(messages):
            where = f"messages[{number}]"
            role = message.get("role") if isinstance(message, dict) else None
            if role == "user":
                self._request.question = self._user(message.get("content"), f"{where}.content")
            elif role in ("system", "developer"):
                if message.get("content"):
                    raise refused(f"{where}.role", "this model takes no instructions beside.")
            elif role != "assistant":
                raise refused(f"{where}.role", "use user or assistant.")
        if role != "user":
            raise ApiError(400, "messages: the last one must be the user's.", param="messages")
        if not self._request.clips:
            raise ApiError(
                400,
                "messages: there is no sound; send a part of the type input_audio.",
                param="messages",
            )

    def _user(self, content: object, where: str) -> str:
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(parts, list):
            raise ApiError(400, f"{where}: a text or a list of parts.", param=where)
        said = []
        for number, part in enumerate(parts):
            place = f"{where}[{number}]"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text":
                said.append(self._text(part.get("text"), f"{place}.text"))
            elif kind == "input_audio":
                self._input_audio(part.get("input_audio"), f"{place}.input_audio")
            elif kind == "audio_url":
                self._audio_url(part.get("audio_url"), f"{place}.audio_url")
            else:
                raise refused(f"{place}.type", "use text, input_audio or audio_url.")
        return " ".join(text for text in said if text)

    def _text(self, text: object, where: str) -> str:
        if not isinstance(text, str):
            raise ApiError(400, f"{where}: a text.", param=where)
        if self._texts.find(text) is not None:
            raise ApiError(400, f"{where}: the text is too long to ask.", param=where)
        return text.strip()

    def _input_audio(self, value: object, where: str) -> None:
        data = value.get("data") if isinstance(value, dict) else None
        kind = value.get("format") if isinstance(value, dict) else None
        if not isinstance(kind, str):
            raise ApiError(400, f"{where}.format: such as wav or mp3.", param=f"{where}.format")
        if not isinstance(data, str):
            raise ApiError(400, f"{where}.data: sound as base64.", param=f"{where}.data")
        self._clip(data, f"{where}.data", url=False)

    def _audio_url(self, value: object, where: str) -> None:
        url = value.get("url") if isinstance(value, dict) else None
        if not isinstance(url, str):
            raise ApiError(400, f"{where}.url: a data: URL.", param=f"{where}.url")
        self._clip(url, f"{where}.url", url=True)

    def _clip(self, text: str, where: str, *, url: bool) -> None:
        """Decode to a file of its own, a piece at a time."""
        if len(self._request.clips) == MAX_CLIPS:
            raise ApiError(400, f"messages: at most {MAX_CLIPS} clips.", param="messages")
        spool = self._stack.enter_context(
            closing(Spool(self._folder, self._limits.upload_bytes, what=where))
        )
        long = self._texts.find(text)
        if long is not None:
            _decode(long.file, spool, where, url=url)
        else:
            with closing(Spool(self._folder, len(text) * 4 + 1, what=where)) as short:
                short.write(text.encode("utf-8", "replace"))
                short.file.seek(0)
                _decode(short.file, spool, where, url=url)
        if not spool.n_bytes:
            raise ApiError(400, f"{where}: there is no sound in it.", param=where)
        spool.file.seek(0)
        self._request.clips.append(spool.file)


def _decode(encoded: BinaryIO, spool: Spool, where: str, *, url: bool) -> None:
    if url:
        head = _DATA_URL.match(encoded.read(128))
        if head is None:
            raise refused(
                where, "use data:audio/wav;base64,...; no address is fetched.", code="invalid_url"
            )
        encoded.seek(head.end())
    ended = False
    while piece := encoded.read(_PIECE_CHARS):
        try:
            # Padding is the end: what follows is not of the same text.
            if ended:
                raise binascii.Error("data after padding")
            spool.write(binascii.a2b_base64(piece, strict_mode=True))
        except binascii.Error as error:
            raise ApiError(400, f"{where}: not base64 ({error}).", param=where) from None
        ended = piece.endswith(b"=")
