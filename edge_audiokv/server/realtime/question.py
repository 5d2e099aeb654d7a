"""What a client asks about the sound: a message of its own, or the instructions of a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_audiokv.server.chat_request import ChatRequest
from edge_audiokv.server.faults import ApiError, refused
from edge_audiokv.server.limits import MAX_INLINE_BYTES
from edge_audiokv.server.realtime.fields import Fields, wrong

_TEXT_ALONE = "answers are given to texts, about the sound that was heard."


@dataclass(frozen=True)
class Said:
    """A message of the user's; `document` is its role and content."""

    id: str
    text: str
    document: dict[str, Any]


def read_item(given: Fields) -> Said:
    """Raises ApiError for anything but a user's text."""
    if given.text("type") != "message":
        raise refused(given.at("type"), "use message.")
    if given.text("role") != "user":
        raise refused(given.at("role"), "use user: this model takes no instructions beside.")
    id = given.text("id")
    if len(id) > 64:
        raise wrong(given.at("id"), "at most 64 characters.")
    for name in ("object", "status"):
        given.take(name)
    content, where = given.take("content"), given.at("content")
    given.end()
    if not isinstance(content, list) or not content:
        raise wrong(where, "a list of texts.")
    texts = []
    for number, value in enumerate(content):
        part = Fields(value, f"{where}[{number}]")
        if part.text("type") != "input_text":
            raise refused(part.at("type"), f"use input_text: {_TEXT_ALONE}")
        texts.append(part.text("text"))
        part.end()
    _check_length(texts, where)
    shown = [{"type": "input_text", "text": text} for text in texts]
    return Said(id, " ".join(texts).strip(), {"role": "user", "content": shown})


def _check_length(texts: list[str], where: str) -> None:
    if sum(len(text) for text in texts) > MAX_INLINE_BYTES:
        raise wrong(where, f"at most {MAX_INLINE_BYTES} characters.")


def question_of(given: Fields, asked_before: str) -> ChatRequest:
    """What `response.create` asks: its own input, else the last message, else its instructions.

    Raises ApiError that names the field which cannot be honoured.
    """
    given.only("output_modalities", (["text"],), 'answers are text; use ["text"].')
    given.only("conversation", ("auto", "none"), "use auto or none.")
    given.only("audio", (), "answers are text.")
    given.only("metadata", ({},), "nothing is kept with a response.")
    given.only("parallel_tool_calls", (False,), "this model calls no tools.")
    given.only("prompt", (), "prompts are not kept here.")
    given.only("reasoning", (), "this model does not reason.")
    given.only("tool_choice", ("none", "auto"), "this model calls no tools.")
    given.only("tools", ([],), "this model calls no tools.")
    most = given.take("max_output_tokens")
    whole = isinstance(most, int) and not isinstance(most, bool) and most >= 1
    if most not in (None, "inf") and not whole:
        raise wrong(given.at("max_output_tokens"), 'a whole number of at least 1, or "inf".')
    items, instructions = given.take("input"), given.text("instructions").strip()
    if items is not None and not isinstance(items, list):
        raise wrong(given.at("input"), "a list of messages.")
    _check_length([instructions], given.at("instructions"))
    told = [
        read_item(Fields(item, f"{given.at('input')}[{number}]")).text
        for number, item in enumerate(items or [])
    ]
    given.end()
    question = " ".join(text for text in told if text) or asked_before
    if question and instructions:
        raise refused(given.at("instructions"), "this model takes none beside the question.")
    question = question or instructions
    if not question:
        raise ApiError(
            400,
            "response: ask something: a user's message before it, or its instructions.",
            param="response",
            code="invalid_value",
        )
    return ChatRequest(question=question, max_tokens=most if whole else None, stream=True)
