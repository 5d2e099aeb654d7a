"""Fetch one pinned file over HTTP(S), going on where an earlier try stopped."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import DownloadError
from ..files import open_part
from .naming import LOOPBACK, fault_of_url

TRIES = 3
TIMEOUT_S = 30.0
# A server that keeps sending, and never what was asked for, is given up: headers have so long, and
# what follows them must come at such a pace.
PATIENCE_S = 60.0
LEAST_BYTES_S = 1000
# Headers, trailers and the like, beside the file.
_SPARE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def fetch_url(
    url: str, part: Path, size_bytes: int, progress: Callable[[int], None] | None = None
) -> None:
    """Bring `part` to `size_bytes` with bytes of `url`; what it already holds is not fetched again.

    `progress` is told the bytes present so far. The caller verifies the content and renames.
    Raises DownloadError when the server refuses, sends another size, or stops answering, and
    OSError if there is no room for it.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    reason = "it kept closing the connection"
    with _exclusive(part) as stream:
        for _ in range(TRIES):
            try:
                _continue(url, stream, size_bytes, progress)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500:
                    raise _failed(url, f"the server answered {error.code} {error.reason}") from None
                reason = f"the server answered {error.code} {error.reason}"
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
                if getattr(error, "errno", None) in _DISK_FULL:
                    raise
                # ValueError: headers that are no text, addresses that are none
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            if stream.tell() == size_bytes:
                return
    raise _failed(url, reason)


def _continue(
    url: str, stream: IO[bytes], size_bytes: int, progress: Callable[[int], None] | None
) -> None:
    have_bytes = stream.seek(0, os.SEEK_END)
    if have_bytes > size_bytes:
        have_bytes = _restart(stream)
    if have_bytes == size_bytes:
        return
    headers = {"Range": f"bytes={have_bytes}-"} if have_bytes else {}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_SafeRedirects, _Bounded(2 * size_bytes + _SPARE_BYTES))
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        expected = f"bytes {have_bytes}-{size_bytes - 1}/{size_bytes}"
        if have_bytes and (answer.status != 206 or answer.headers.get("Content-Range") != expected):
            # No ranges there, or of another file: begin again if the whole was sent.
            have_bytes = _restart(stream)
            if answer.status != 200:
                return
        length_bytes = _length_bytes(answer.headers.get("Content-Length"))
        if length_bytes is not None and have_bytes + length_bytes != size_bytes:
            raise _failed(url, f"it holds {have_bytes + length_bytes} bytes, not {size_bytes}")
        while chunk := answer.read(_CHUNK_BYTES):
            have_bytes += len(chunk)
            if have_bytes > size_bytes:
                _restart(stream)
                raise _failed(url, f"it sends more than the {size_bytes} bytes expected")
            stream.write(chunk)
            if progress:
                progress(have_bytes)
        stream.flush()


class _Bounded(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Connections whose answers have at most `most_bytes`, and come in time."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connect, http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self._connect, http.client.HTTPSConnection), req)

    def _connect(
        self, kind: type[http.client.HTTPConnection], host: str, **options: Any
    ) -> http.client.HTTPConnection:
        connection = kind(host, **options)
        # Of this connection alone; its answers are made by calling it.
        connection.response_class = partial(  # type: ignore[assignment]
            _Answer, most_bytes=self._most_bytes
        )
        return connection


class _Answer(http.client.HTTPResponse):
    """An answer that ends, whatever the server does.

    By itself the client reads interim answers (100), header lines and trailers as long as they
    come.
    """

    def __init__(self, *args: Any, most_bytes: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watched = _Watched(self.fp.detach(), most_bytes)
        self.fp = io.BufferedReader(self._watched)

    def begin(self) -> None:
        self._watched.deadline_s = time.monotonic() + PATIENCE_S
        super().begin()
        self._watched.deadline_s = None


class _Watched(io.RawIOBase):
    """The bytes of a socket, counted and timed. Raises TimeoutError, ValueError if too many."""

    def __init__(self, raw: io.RawIOBase, most_bytes: int) -> None:
        self.deadline_s: float | None = None
        self._raw = raw
        self._left_bytes = most_bytes
        self._since_s, self._since_bytes = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        now_s = time.monotonic()
        if self.deadline_s is not None and now_s > self.deadline_s:
            raise TimeoutError(f"its headers did not end within {PATIENCE_S:g} s")
        if now_s - self._since_s > PATIENCE_S:
            if self._since_bytes < LEAST_BYTES_S * PATIENCE_S:
                raise TimeoutError(f"it sent fewer than {LEAST_BYTES_S} bytes a second")
            self._since_s, self._since_bytes = now_s, 0
        if self._left_bytes <= 0:
            raise ValueError("its answer does not end")
        got_bytes = self._raw.readinto(buffer)
        self._left_bytes -= got_bytes or 0
        self._since_bytes += got_bytes or 0
        return got_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and only to where an entry itself could have sent us."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        # A server on the network must not send us back to services of this machine.
        fault = fault_of_url(newurl, loopback=urlsplit(req.full_url).hostname in LOOPBACK)
        if fault is not None:
            raise _failed(req.full_url, f"it redirects to an address that {fault}")
        fp.close()  # whatever comes with a redirect would be read to its end
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _length_bytes(text: str | None) -> int | None:
    """What a Content-Length says; None if it is absent or no number."""
    stripped = (text or "").strip()
    return (
        int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) < 20 else None
    )


def _restart(stream: IO[bytes]) -> int:
    stream.seek(0)
    stream.truncate()
    return 0


@contextlib.contextmanager
def _exclusive(part: Path) -> Iterator[IO[bytes]]:
    """`part` opened for appending, by one process at a time."""
    with os.fdopen(open_part(part, append=True), "ab") as stream:
        try:
            import fcntl
        except ImportError:  # Windows: the last rename wins, and the hash decides
            yield stream
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DownloadError(
                f"Another process is fetching {part.name}.", cure="Wait for it, then try again."
            ) from None
        yield stream


def _failed(url: str, why: str) -> DownloadError:
    return DownloadError(
        f"Cannot fetch {url}: {why}.",
        cure="Try again: what has arrived is kept and the rest is fetched.",
    )
