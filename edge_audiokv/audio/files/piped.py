"""A sound file that arrives through a pipe while it is being made: heard as it comes.

WAV is read here, for its samples only wait behind a header: `arecord` and others send it without
knowing how long it will be. FLAC, Ogg, MP3 and other streamable formats are decoded by PyAV, in a
thread that a closed source ends. Nothing is kept on disk, and little in memory.
"""

from __future__ import annotations

import os
import queue
import select
import stat
import threading
from typing import Any, BinaryIO

import numpy as np

from edge_audiokv.audio.channels import Mixer
from edge_audiokv.audio.files.containers import AvDecoder, container_format, load_av
from edge_audiokv.audio.files.pcm import PcmFormat, PcmSource
from edge_audiokv.audio.files.riff import FLOAT, PCM, WavHeader, parse_header
from edge_audiokv.audio.level import LiveHealth
from edge_audiokv.audio.resample import StreamResampler
from edge_audiokv.audio.scale import FloatScale
from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.errors import EdgeAudioKVError, InputError
from edge_audiokv.events import Warned

_WAIT_S = 0.1
_SNIFFED_BYTES = 400
_MAX_HEADER_BYTES = 1 << 20
_ENCODINGS = {
    (PCM, 8): "u8",
    (PCM, 16): "s16le",
    (PCM, 24): "s24le",
    (PCM, 32): "s32le",
    (FLOAT, 32): "f32le",
}
_RAW_CURE = "Send raw sound instead, such as: ffmpeg -i IN -ac 1 -ar 16000 -f s16le - | ... --raw"
# Of half a second or less each.
_MAX_WAITING_BLOCKS = 8


class LivePipe(AudioSource):
    """`stream` is a pipe or socket that a sound file comes through; it stays open."""

    realtime = True

    def __init__(self, stream: BinaryIO, *, name: str = "standard input") -> None:
        super().__init__()
        self.name = name
        # The unbuffered stream below: what a buffer holds, select() cannot see.
        self._stream: Any = getattr(stream, "raw", stream)
        self._head = b""
        self._inner: AudioSource | None = None
        self._rest: _Rest | None = None
        self._heard_any = False
        self._ended = False

    def open(self) -> None:
        """Nothing is read yet: a sender may take its time, and signals must be heard meanwhile."""

    def _read(self, max_samples: int) -> Samples | None:
        while True:
            if self._ended:
                return None
            if self._inner is None and not self._begin():
                return self._nothing_yet()
            inner = self._inner
            samples = inner.read(max_samples) if inner is not None else None
            self._events.extend(inner.take_events() if inner is not None else [])
            if samples is not None:
                return samples
            self._end_inner()

    def _nothing_yet(self) -> Samples | None:
        return None if self._ended else np.zeros(0, np.float32)

    def _end_inner(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()
        rest, self._rest = self._rest, None
        # Behind a WAV of known length another one may follow.
        self._ended = rest is None or not rest.complete
        self._heard_any = True

    def _begin(self) -> bool:
        """Whether enough has come to know what it is, and `_inner` reads it."""
        wanted: WavHeader | int = _SNIFFED_BYTES
        if self._head[:4] == b"RIFF" or len(self._head) < 4:
            try:
                wanted = parse_header(self._head)
            except ValueError as error:
                if container_format(self._head) is None:
                    raise self._refusal(str(error)) from None
        if isinstance(wanted, WavHeader):
            self._begin_wav(wanted)
            return True
        if wanted <= len(self._head) or (len(self._head) >= 16 and self._head[:4] != b"RIFF"):
            self._begin_coded()
            return True
        if wanted > _MAX_HEADER_BYTES:
            raise self._refusal("its header has no end")
        if not select.select([self._stream], [], [], _WAIT_S)[0]:
            return False
        data = self._stream.read(wanted - len(self._head))
        if data:
            self._head += data
            return False
        self._ended = True
        if self._heard_any:
            if self._head:
                self._warn(f"the last {len(self._head)} bytes are no sound")
            return False
        if not self._head:
            raise InputError(f"{self.name} is empty (0 bytes).", cure="Pipe a sound file in.")
        raise self._refusal("it ended before any sound came")

    def _begin_wav(self, header: WavHeader) -> None:
        encoding = _ENCODINGS.get((header.kind, header.bits))
        if encoding is None:
            raise self._refusal(f"WAV of the kind {header.kind} with {header.bits} bits")
        left = self._head[header.data_at :]
        self._head = b""
        known = bool(header.data_bytes) and not header.unknown_length
        self._rest = _Rest(self._stream, left, header.data_bytes if known else None)
        text = f"{encoding}:{header.rate_hz}:{header.channels}"
        inner = PcmSource(self._rest, PcmFormat.parse(text), name=self.name, wait_s=_WAIT_S)  # type: ignore[arg-type]
        inner.open()
        self._inner = inner

    def _begin_coded(self) -> None:
        found = stream_format(self._head)
        if found is None:
            if self._heard_any:
                self._warn("what follows its sound is no sound")
                self._ended = True
                return
            raise self._refusal("of an unknown format")
        kind, people = found
        load_av(f"Hearing {people} on {self.name} while it comes")
        rest, self._head = _Rest(self._stream, self._head, None), b""
        self._inner = _Decoded(rest, kind, self.name)
        self._inner.open()

    def _refusal(self, why: str) -> InputError:
        return InputError(
            f"{self.name} is not audio that can be heard as it comes ({why}).",
            cure=_RAW_CURE,
        )

    def _warn(self, message: str) -> None:
        self._events.append(Warned(self.clock_s, f"{self.name}: {message}."))

    def close(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()
        self._head = b""
        self._ended = True


def stream_format(head: bytes) -> tuple[str, str] | None:
    """FFmpeg's and people's name of a format that can be decoded from its start on."""
    if head[:4] == b"fLaC":
        return "flac", "FLAC"
    if head[:3] == b"ID3":
        return "mp3", "MP3"
    found = container_format(head)
    if found is None and len(head) > 1 and head[0] == 0xFF and head[1] >> 5 == 7:
        return "mp3", "MP3"
    return found


class _Rest:
    """Bytes that were read already, then those of `stream`; `limit_bytes` in all, if not None."""

    def __init__(self, stream: Any, begun: bytes, limit_bytes: int | None) -> None:
        self._stream = stream
        self._begun = begun
        self._left = limit_bytes
        self.closed = False

    @property
    def complete(self) -> bool:
        """Whether all that was promised has been read, so that something else may follow."""
        return self._left == 0

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def ready(self, wait_s: float) -> bool:
        """Whether a read would not wait."""
        if self._begun or self._left == 0:
            return True
        return bool(select.select([self._stream], [], [], wait_s)[0])

    def read(self, max_bytes: int = -1) -> bytes:
        """Some bytes; none at the end, or once it is closed from another thread."""
        if max_bytes < 0:
            max_bytes = 1 << 16
        if self._left is not None:
            max_bytes = min(max_bytes, self._left)
        if self._begun:
            data, self._begun = self._begun[:max_bytes], self._begun[max_bytes:]
        else:
            while not self.closed and not self.ready(_WAIT_S):
                pass
            data = b"" if self.closed else self._stream.read(max_bytes) or b""
        if self._left is not None:
            self._left -= len(data)
        return data


class _Decoded(AudioSource):
    """What PyAV makes of a stream, in a thread of its own: its reads wait as long as they like."""

    realtime = True

    def __init__(self, stream: _Rest, kind: str, name: str) -> None:
        super().__init__()
        self.name = name
        self._stream = stream
        self._kind = kind
        self._blocks: queue.Queue[Samples | EdgeAudioKVError | None] = queue.Queue(
            _MAX_WAITING_BLOCKS
        )
        self._ready: Samples = np.zeros(0, np.float32)
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        end: EdgeAudioKVError | None = None
        try:
            self._decode()
        except EdgeAudioKVError as error:
            end = error
        self._put(end)
        if end is not None:
            self._put(None)

    def _decode(self) -> None:
        av = load_av(self.name)
        decoder = AvDecoder(av, self._stream, self._kind, self.name, live=True)  # type: ignore[arg-type]
        resampler, mixer = StreamResampler(decoder.rate_hz), Mixer()
        scale, health = FloatScale(), LiveHealth()
        given_s = 0.0
        try:
            while not self._stream.closed:
                frames = decoder.read(max(1, decoder.rate_hz // 2))
                ended = frames is None
                if frames is None:
                    frames = np.zeros((0, decoder.channels), np.float32)
                given_s += len(frames) / decoder.rate_hz
                frames = scale.apply(frames)
                notes = [*health.messages(frames, given_s), *decoder.take_notes()]
                mono = mixer.mix(np.clip(np.nan_to_num(frames), -1.0, 1.0))
                for note in (*notes, *scale.take_notes(), *mixer.take_notes()):
                    self._events.append(Warned(given_s, f"{self.name}: {note}."))
                self._put(resampler.push(mono, last=ended))
                if ended:
                    return
        finally:
            decoder.close()

    def _put(self, item: Samples | EdgeAudioKVError | None) -> None:
        while not self._stream.closed:
            try:
                self._blocks.put(item, timeout=_WAIT_S)
                return
            except queue.Full:
                continue

    def _read(self, max_samples: int) -> Samples | None:
        if not len(self._ready):
            try:
                item = self._blocks.get(timeout=_WAIT_S)
            except queue.Empty:
                return np.zeros(0, np.float32)
            if item is None:
                self._stream.closed = True
                return None
            if isinstance(item, EdgeAudioKVError):
                raise item
            self._ready = item
        samples, self._ready = self._ready[:max_samples], self._ready[max_samples:]
        return samples

    def close(self) -> None:
        self._stream.closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=10 * _WAIT_S)


def is_regular(stream: BinaryIO) -> bool:
    """Whether `stream` is a plain file that can be read as one."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and stream.seekable()
    except (AttributeError, OSError, ValueError):
        return False
