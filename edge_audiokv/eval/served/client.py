"""A live client of a server, over its WebSocket: sound in, final texts out, with their times."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import soxr

from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.errors import EdgeAudioKVError, MissingExtraError

_RATE_HZ = 24_000
_ANSWER_S = 600.0
_COMPLETED = "conversation.item.input_audio_transcription.completed"


@dataclass(frozen=True)
class Told:
    """A final text, its stretch of the sound, and when it was there (`time.monotonic()`)."""

    start_s: float
    end_s: float
    text: str
    at_s: float


class Refused(EdgeAudioKVError):
    """There is no session free. `retry_after` is what the server says, as it says it."""

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(f"refused with {status}.", cure=f"Come again in {retry_after} s.")
        self.status, self.retry_after = status, retry_after


class LiveClient:
    """Talks from `open` to `close`. `told` grows while sound is sent; one thread sends.

    `open` raises Refused; all raise EdgeAudioKVError for a server that goes away.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[Told] = []
        self.sent_s = 0.0
        self._socket: Any = None
        self._opened = ExitStack()
        self._reader: threading.Thread | None = None
        self._resampler: Any = None
        self._starts: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        # Whatever was sent before the last commit has been heard.
        self._heard = threading.Event()
        self._answered = threading.Event()
        self._answer = ""
        self._ended = threading.Event()

    def open(self) -> Self:
        try:
            from websockets.exceptions import InvalidStatus
            from websockets.sync.client import connect
        except ImportError:
            raise MissingExtraError(
                "A client of a server needs websockets, which is not installed.",
                cure="Run: pip install 'edge-audiokv[server]'",
            ) from None
        try:
            # Pings would stand behind the sound.
            socket = self._opened.enter_context(
                connect(
                    self.url, compression=None, proxy=None, ping_interval=None, max_size=1 << 20
                )
            )
        except InvalidStatus as refusal:
            response = refusal.response
            raise Refused(response.status_code, response.headers.get("retry-after", "")) from None
        except OSError as error:
            raise EdgeAudioKVError(f"There is no server at {self.url}: {error}.") from None
        self._begin(socket)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _begin(self, socket: Any) -> None:
        self._socket = socket
        self._resampler = soxr.ResampleStream(SAMPLE_RATE_HZ, _RATE_HZ, 1, dtype="float32")

    def send(self, samples: Samples, *, last: bool = False) -> None:
        """More sound, float32 [S] at 16 kHz; waits while the server takes no more."""
        sound = np.clip(self._resampler.resample_chunk(samples, last=last), -1.0, 1.0)
        pcm = np.rint(sound * 32767).astype("<i2").tobytes()
        self._put("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
        self.sent_s += len(samples) / SAMPLE_RATE_HZ

    def hear_out(self) -> None:
        """All that was sent is heard when this returns, and what is open ends."""
        self._heard.clear()
        # Orders are done one after another. The first commit may end a segment; the second finds
        # nothing open, and says so.
        for _ in range(2):
            self._put("input_audio_buffer.commit")
        if self._ended.is_set():
            self._heard.set()
        if not self._heard.wait(_ANSWER_S) or self._ended.is_set():
            raise self._gone()

    def ask(self, question: str) -> str:
        """The answer to a question about what was heard so far."""
        self._answered.clear()
        self._put("response.create", response={"instructions": question})
        if self._ended.is_set():
            self._answered.set()
        if not self._answered.wait(_ANSWER_S) or self._ended.is_set():
            raise self._gone()
        return self._answer

    def close(self) -> None:
        self._opened.close()
        if self._reader is not None:
            self._reader.join()

    def _put(self, kind: str, **fields: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(json.dumps({"type": kind, **fields}))
        except ConnectionClosed:
            raise self._gone() from None

    def _gone(self) -> EdgeAudioKVError:
        return EdgeAudioKVError("The server has ended the connection.", cure="Look at its log.")

    def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for text in self._socket:
                self._take(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._ended.set()
            self._heard.set()
            self._answered.set()

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "input_audio_buffer.speech_started":
                self._starts[event["item_id"]] = event["audio_start_ms"] / 1000
            case "input_audio_buffer.speech_stopped":
                self._ends[event["item_id"]] = event["audio_end_ms"] / 1000
            case "error" if event["error"]["code"] == "input_audio_buffer_commit_empty":
                self._heard.set()
            case "response.done":
                said = [part for item in event["response"]["output"] for part in item["content"]]
                self._answer = "".join(part["text"] for part in said)
                self._answered.set()
            case kind if kind == _COMPLETED:
                item = event["item_id"]
                start_s, end_s = self._starts.pop(item, 0.0), self._ends.pop(item, 0.0)
                self.told.append(Told(start_s, end_s, event["transcript"], time.monotonic()))
