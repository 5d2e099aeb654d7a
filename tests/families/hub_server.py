"""A hub on the loopback that speaks what its client asks, with its refusals and its faults."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-qwen2-audio"


class Hub:
    """What it holds, does wrong, and was asked for. `files` are the repository NAME at COMMIT."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.revisions = {"main", "v1", COMMIT}
        self.refusal: tuple[int, str] | None = None
        self.stall_after: int | None = None
        """Weights: after so many bytes nothing more is sent."""
        self.flip = False
        """Weights: one byte is another."""
        self.stalled = threading.Event()
        self.over = threading.Event()
        self.asked: list[tuple[str, str]] = []
        """Names of files that were sent, and their ranges."""
        self.address = ""


def _send(handler: http.server.BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def _large(name: str) -> bool:
    return name.endswith(".safetensors")


def _info(hub: Hub) -> bytes:
    siblings: list[dict[str, Any]] = []
    for name, data in hub.files.items():
        siblings.append({"rfilename": name, "size": len(data), "blobId": "0" * 40})
        if _large(name):
            digest = hashlib.sha256(data).hexdigest()
            siblings[-1]["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
    return json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        if path.startswith("/cdn/"):
            self._weights(path.removeprefix("/cdn/"))
        elif hub.refusal is not None:
            _send(self, hub.refusal[0], X_Error_Code=hub.refusal[1], Content_Length="0")
        elif path == f"/api/models/{NAME}" or path.startswith(f"/api/models/{NAME}/revision/"):
            if path.rpartition("/revision/")[2] not in {*hub.revisions, path}:
                _send(self, 404, X_Error_Code="RevisionNotFound", Content_Length="0")
                return
            self._body(_info(hub))
        elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
            self._resolve(path.removeprefix(f"/{NAME}/resolve/{COMMIT}/"))
        else:
            _send(self, 404, X_Error_Code="RepoNotFound", Content_Length="0")

    def _resolve(self, name: str) -> None:
        hub = self.hub
        if name not in hub.files:
            _send(self, 404, X_Error_Code="EntryNotFound", Content_Length="0")
            return
        data = hub.files[name]
        digest = hashlib.sha256(data).hexdigest()
        if _large(name):
            _send(
                self,
                302,
                X_Repo_Commit=COMMIT,
                X_Linked_Etag=f'"{digest}"',
                X_Linked_Size=str(len(data)),
                # Weights lie on another host, as far as its client can see.
                Location=f"{hub.address.replace('127.0.0.1', 'localhost')}/cdn/{name}",
                Content_Length="0",
            )
            return
        if self.command == "GET":
            hub.asked.append((name, ""))
        self._body(data, X_Repo_Commit=COMMIT, ETag=f'"{digest[:40]}"')

    def _weights(self, name: str) -> None:
        hub, data = self.hub, self.hub.files[name]
        wanted = self.headers.get("Range", "")
        hub.asked.append((name, wanted))
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        first = int(start or 0)
        last = min(int(end or len(data)), len(data) - 1)
        body = data[first : last + 1]
        if hub.flip and not end:
            body = bytes([body[0] ^ 1]) + body[1:]
        headers = {"Content_Range": f"bytes {first}-{last}/{len(data)}"} if wanted else {}
        _send(self, 206 if wanted else 200, Content_Length=str(len(body)), **headers)
        if hub.stall_after is not None and not end:
            self.wfile.write(body[: hub.stall_after])
            self.wfile.flush()
            hub.stalled.set()
            hub.over.wait()
            self.close_connection = True
            return
        self.wfile.write(body)

    def _body(self, data: bytes, **headers: str) -> None:
        _send(self, 200, Content_Length=str(len(data)), **headers)
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here."""


@contextmanager
def serve(folder: Path, **more: bytes) -> Iterator[Hub]:
    """The checkpoint in `folder` as NAME at COMMIT; `more` are files beside."""
    hub = Hub({file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} | more)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
