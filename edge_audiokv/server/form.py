"""multipart/form-data, part by part: texts in memory, the sound on disk, all of it bounded.

A file's name and type are never looked at: what it is shows in its content.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from edge_audiokv.server.body import chunks
from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.limits import (
    MAX_FIELD_BYTES,
    MAX_PART_HEADER_BYTES,
    MAX_PART_HEADERS,
    MAX_PARTS,
    Limits,
)
from edge_audiokv.server.spool import Spool

_FILE = "file"


@dataclass
class Form:
    """`fields` holds the texts of every name, in order; `file` the sound."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: BinaryIO | None = None


async def read_form(request: Request, limits: Limits, folder: Path, stack: ExitStack) -> Form:
    """The form in the body, whose sound `stack` deletes. Raises ApiError, ClientGone."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(400, "the body must be multipart/form-data with a boundary.")
    reader = _Reader(limits, folder, stack)
    # Beside the sound there is little.
    max_bytes = limits.upload_bytes + MAX_PARTS * (MAX_FIELD_BYTES + MAX_PART_HEADER_BYTES)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_header_field": reader.header_name,
                "on_header_value": reader.header_value,
                "on_header_end": reader.header_end,
                "on_headers_finished": reader.headers_finished,
                "on_part_data": reader.data,
                "on_part_end": reader.end,
                "on_end": reader.done,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )
        async for piece in chunks(request, limits, max_bytes):
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, f"the form cannot be read: {error}.") from None
    if not reader.complete:
        raise ApiError(400, "the form ends before its last boundary.")
    return reader.form


class _Reader:
    """What the parser finds, put where it belongs."""

    def __init__(self, limits: Limits, folder: Path, stack: ExitStack) -> None:
        self.form = Form()
        self._limits, self._folder, self._stack = limits, folder, stack
        self._parts = 0
        self._field, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name = ""
        self._text = bytearray()
        self._spool: Spool | None = None
        self.complete = False

    def begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ApiError(400, f"the form has more than {MAX_PARTS} parts.")
        self._disposition = b""
        self._text.clear()
        self._spool = None

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        try:
            self._name = options[b"name"].decode()
        except (KeyError, UnicodeDecodeError):
            raise ApiError(400, "a part of the form has no name.") from None
        # A file in the place of a text is no text, and the other way round.
        if self._name == _FILE:
            if self.form.file is not None:
                raise ApiError(400, "file: one is enough.", param=_FILE)
            self._spool = self._stack.enter_context(
                closing(Spool(self._folder, self._limits.upload_bytes, what=_FILE))
            )
            self.form.file = self._spool.file
        elif b"filename" in options:
            raise ApiError(400, "only `file` may be a file.", param="file")

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._spool is not None:
            self._spool.write(memoryview(data)[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > MAX_FIELD_BYTES:
            raise ApiError(400, f"a field has more than {MAX_FIELD_BYTES} bytes.")

    def end(self) -> None:
        if self._spool is not None:
            self._spool.file.seek(0)
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise ApiError(400, "a field is not UTF-8.") from None
        self.form.fields.setdefault(self._name, []).append(text)

    def done(self) -> None:
        self.complete = True
