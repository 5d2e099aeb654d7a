"""A JSON body whose long texts (sound, as base64) go to disk while they come in.

What is left is small and is parsed as usual; in it a mark stands for each long text. So a body of
dozens of megabytes costs kilobytes of memory, and nesting or a million empty lists cannot cost
more than the text that they are.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from starlette.requests import Request

from edge_audiokv.server.body import chunks
from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.limits import (
    MAX_CLIPS,
    MAX_INLINE_BYTES,
    MAX_JSON_BYTES,
    MAX_JSON_DEPTH,
    Limits,
)
from edge_audiokv.server.spool import Spool

# The end of a string, or an escape, which may hide one.
_SPECIAL = re.compile(rb'["\\]')
_STRUCTURE = re.compile(rb'["\[\]{}]')


class LongTexts:
    """Long strings of one body, by their marks. `stack` deletes them."""

    def __init__(self, folder: Path, max_bytes: int, stack: ExitStack) -> None:
        # A client must not be able to name another's text, or one that is not there.
        self._prefix = secrets.token_hex(16)
        self._folder, self._max_bytes, self._stack = folder, max_bytes, stack
        self._spools: list[Spool] = []

    def add(self) -> tuple[str, Spool]:
        """A new one and its mark."""
        if len(self._spools) == MAX_CLIPS:
            raise ApiError(400, f"the body has more than {MAX_CLIPS} long texts.")
        left_bytes = self._max_bytes - sum(spool.n_bytes for spool in self._spools)
        spool = self._stack.enter_context(closing(Spool(self._folder, left_bytes, what="messages")))
        self._spools.append(spool)
        return f"{self._prefix}-{len(self._spools) - 1}", spool

    def find(self, text: str) -> Spool | None:
        """The long text that `text` is the mark of."""
        prefix, dash, number = text.rpartition("-")
        if not dash or not secrets.compare_digest(
            prefix.encode("utf-8", "replace"), self._prefix.encode()
        ):
            return None
        return self._spools[int(number)]


async def read_json(
    request: Request, limits: Limits, folder: Path, stack: ExitStack
) -> tuple[dict[str, Any], LongTexts]:
    """The object in the body, and its long texts, which `stack` closes.

    Raises ApiError, ClientGone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(400, "the content type must be application/json.")
    texts = LongTexts(folder, limits.base64_bytes, stack)
    reader = JsonReader(texts)
    async for piece in chunks(request, limits, limits.base64_bytes + MAX_JSON_BYTES):
        reader.feed(piece)
    document = reader.parse()
    if not isinstance(document, dict):
        raise ApiError(400, "the body must be a JSON object.")
    return document, texts


class JsonReader:
    """Takes a body in pieces, cut anywhere."""

    def __init__(self, texts: LongTexts) -> None:
        self._texts = texts
        self._left = bytearray()
        self._depth = 0
        # Where in `_left` the open string begins, or -1; and the file that it has moved to.
        self._string = -1
        self._spool: Spool | None = None
        self._escaped = False

    def feed(self, data: bytes) -> None:
        """Raises ApiError for what is too large or too deep."""
        at = 0
        while at < len(data):
            at = self._outside(data, at) if self._string < 0 else self._inside(data, at)
            if len(self._left) > MAX_JSON_BYTES:
                raise ApiError(
                    413, f"the body has more than {MAX_JSON_BYTES} bytes beside its sound."
                )

    def parse(self) -> Any:
        """The document. Raises ApiError if it is not JSON."""
        if self._string >= 0:
            raise ApiError(400, "the body is not JSON: it ends within a text.")
        try:
            return json.loads(self._left, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the body is not JSON: {error}.") from None

    def _outside(self, data: bytes, at: int) -> int:
        for found in _STRUCTURE.finditer(data, at):
            mark = found[0]
            if mark == b'"':
                self._left += data[at : found.end()]
                self._string = len(self._left)
                return found.end()
            self._depth += 1 if mark in b"[{" else -1
            if self._depth > MAX_JSON_DEPTH:
                raise ApiError(400, f"the body is nested more than {MAX_JSON_DEPTH} deep.")
        self._left += data[at:]
        return len(data)

    def _inside(self, data: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._put(data[at : at + 1], escape=True)
            return at + 1
        found = _SPECIAL.search(data, at)
        if found is None:
            self._put(data[at:])
            return len(data)
        self._put(data[at : found.start()])
        if found[0] == b"\\":
            self._escaped = True
            if self._spool is None:
                self._left += b"\\"
            return found.end()
        self._left += b'"'
        if self._spool is not None:
            self._spool.file.seek(0)
        self._string, self._spool = -1, None
        return found.end()

    def _put(self, text: bytes, *, escape: bool = False) -> None:
        """More of the open string."""
        if self._spool is None:
            self._left += text
            if len(self._left) - self._string <= MAX_INLINE_BYTES:
                return
            # Too long for a name or a question: sound, or nothing that is of use here.
            text = bytes(self._left[self._string :]).replace(b"\\/", b"/")
            del self._left[self._string :]
            mark, self._spool = self._texts.add()
            self._left += mark.encode()
            if b"\\" in text:
                raise _no_base64()
        elif escape and text != b"/":  # as some writers put it, for the sake of HTML
            raise _no_base64()
        self._spool.write(text)


def _no_base64() -> ApiError:
    return ApiError(
        400, f"a text of more than {MAX_INLINE_BYTES} bytes is not base64.", param="messages"
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
