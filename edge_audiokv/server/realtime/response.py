"""One answer as OpenAI's Realtime events tell it: begun, growing, done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edge_audiokv.server.jobs import Answered, Growth, Unanswered

_STATUS = {"stop": "completed", "length": "incomplete", "cancelled": "cancelled"}
_REASON = {"length": "max_output_tokens", "cancelled": "client_cancelled"}
Told = tuple[str, dict[str, Any]]


class Response:
    """`told` gives the events of each step, without their ids."""

    def __init__(self, id: str, item_id: str, max_tokens: int | None) -> None:
        self.id, self.item_id = id, item_id
        self._max_tokens = max_tokens
        self._text = ""
        self._before: str | None = None
        self.begun = False

    def document(self, status: str = "in_progress", **more: Any) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [],
            "output_modalities": ["text"],
            "max_output_tokens": self._max_tokens or "inf",
            "metadata": None,
            "usage": None,
            **more,
        }

    def told(self, item: Growth | Answered | Unanswered, before: str | None) -> Iterator[Told]:
        """`before` is the item that the answer follows."""
        if isinstance(item, Unanswered):
            error = {"type": "invalid_request_error", "code": None, "message": item.message}
            details = {"type": "failed", "error": error}
            yield "response.done", {"response": self.document("failed", status_details=details)}
            return
        if not self.begun:
            self.begun = True
            self._before = before
            yield from self._begin()
        if item.text.startswith(self._text):
            delta, self._text = item.text[len(self._text) :], item.text
            if delta:
                yield "response.output_text.delta", {**self._part, "delta": delta}
        if isinstance(item, Answered):
            yield from self._end(item)

    @property
    def _place(self) -> dict[str, Any]:
        return {"response_id": self.id, "output_index": 0}

    @property
    def _part(self) -> dict[str, Any]:
        return {**self._place, "item_id": self.item_id, "content_index": 0}

    def _item(self, status: str, *texts: str) -> dict[str, Any]:
        return {
            "id": self.item_id,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [{"type": "output_text", "text": text} for text in texts],
        }

    def _begin(self) -> Iterator[Told]:
        item = self._item("in_progress")
        yield "response.output_item.added", {**self._place, "item": item}
        yield "conversation.item.added", {"item": item, "previous_item_id": self._before}
        yield "response.content_part.added", {**self._part, "part": {"type": "text", "text": ""}}

    def _end(self, answered: Answered) -> Iterator[Told]:
        text, status = answered.text, _STATUS[answered.reason]
        item = self._item("completed" if status == "completed" else "incomplete", text)
        yield "response.output_text.done", {**self._part, "text": text}
        yield "response.content_part.done", {**self._part, "part": {"type": "text", "text": text}}
        yield "response.output_item.done", {**self._place, "item": item}
        yield "conversation.item.done", {"item": item, "previous_item_id": self._before}
        details: dict[str, Any] | None = None
        if answered.reason in _REASON:
            details = {"type": status, "reason": _REASON[answered.reason]}
        usage = {
            "input_tokens": answered.n_prompt_tokens,
            "output_tokens": answered.n_tokens,
            "total_tokens": answered.n_prompt_tokens + answered.n_tokens,
        }
        done = self.document(status, status_details=details, output=[item], usage=usage)
        yield "response.done", {"response": done}
