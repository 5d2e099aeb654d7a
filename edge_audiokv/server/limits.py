"""What a client may make the server hold, wait for or compute, each with its bound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """`queue` jobs wait beside the one that runs; one more is refused unread."""

    queue: int = 2
    upload_bytes: int = 25 << 20
    audio_s: float = 3600.0
    # A body must keep coming: no pause longer than this, and this fast after a grace time.
    body_pause_s: float = 10.0
    body_grace_s: float = 20.0
    body_bytes_per_s: int = 16 << 10
    header_s: float = 10.0
    send_s: float = 30.0
    connections: int = 128
    stop_s: float = 10.0
    # A live client that sends no event for so long is let go: others want the model, too.
    idle_s: float = 300.0

    @property
    def base64_bytes(self) -> int:
        """`upload_bytes` of sound as it comes in JSON."""
        return self.upload_bytes * 4 // 3 + 4


# Parts of a form, the text of one field, and its headers.
MAX_PARTS = 64
MAX_FIELD_BYTES = 16 << 10
MAX_PART_HEADER_BYTES = 4 << 10
MAX_PART_HEADERS = 8
# All headers of a request.
MAX_HEADER_BYTES = 32 << 10
# JSON without its long texts; strings longer than MAX_INLINE_BYTES are sound and go to disk.
MAX_JSON_BYTES = 128 << 10
MAX_INLINE_BYTES = 4 << 10
MAX_JSON_DEPTH = 16
MAX_CLIPS = 16
MAX_MESSAGES = 128
# One event of a live client; how many of them, or frames of one, may come at once; the numbers,
# texts and objects in it; and what waits for the model in memory (sound beyond it: on disk).
MAX_EVENT_BYTES = 1 << 20
MAX_EVENTS = 1024
MAX_EVENT_VALUES = 4096
MAX_WAITING_BYTES = 1 << 20
# Connections, buffers and requests are part of the capped memory (measured: 5 MiB, with a
# hundred connections that wait and three bodies of 33 MB at once; 7 MiB for a live client that
# sends the largest events as fast as they go in, while no bodies are read).
REQUESTS_BYTES = 12 << 20
# What each live client takes beside the first.
LIVE_BYTES = 7 << 20
# What an open microphone takes on top: its library, its ring, and what is kept for a busy model
# (measured: 10 MiB at 48 kHz, one channel).
MICROPHONE_BYTES = 16 << 20
