"""A file server on the loopback with the manners and the faults of real ones."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Faults:
    """What the next answers do wrong. `cut_after` bytes end an answer, `cuts` times."""

    def __init__(self) -> None:
        self.ranges = True
        self.cut_after = 0
        self.cuts = 0
        self.status = 0
        self.wrong_range = False
        self.location: str | None = None
        self.length: str | None = None
        self.requests: list[str | None] = []
        self.sent_bytes = 0


@contextmanager
def serve(data: bytes) -> Iterator[tuple[str, Faults]]:
    """The URL of `data`, and the faults to set."""
    faults = Faults()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            faults.requests.append(wanted)
            if faults.status:
                self.send_error(faults.status)
                return
            if faults.location is not None:
                self.send_response(302)
                self.send_header("Location", faults.location)
                self.end_headers()
                return
            start = 0
            if wanted and faults.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                total = len(data) + (1 if faults.wrong_range else 0)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{total}")
            else:
                self.send_response(200)
            body = data[start:]
            self.send_header("Content-Length", faults.length or str(len(body)))
            self.end_headers()
            if faults.cuts:
                faults.cuts -= 1
                body = body[: faults.cut_after]
                self.close_connection = True
            # Counted first: the client may be done before this thread goes on.
            faults.sent_bytes += len(body)
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/weights.bin", faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
