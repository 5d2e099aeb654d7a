"""Ogg pages: where the links of a chain begin, and where sound is missing inside one.

Each page says at which sample it ends (RFC 3533, section 6; at 48 kHz for Opus, RFC 7845), and
each Opus packet how long it is (RFC 6716, section 3.1). Where the first has gone further than the
second, sound was lost: decoders join what is left, and everything after would be told too early.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from edge_audiokv.audio.files.window import find
from edge_audiokv.audio.source import Samples

_OPUS_RATE_HZ = 48_000
_LEAST_GAP_S = 0.1
# Of all together: more is no lost packets but a clock that jumped.
_MAX_GAP_S = 3600.0
_MAX_GAPS = 1000
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Gap:
    """`frames` of silence belong after frame `at` of what is decoded."""

    def __init__(self, at: int, frames: int) -> None:
        self.at, self.frames = at, frames


class OggGaps:
    """The gaps of one link of a chain, found before it is decoded: only page heads are read."""

    def __init__(self, file: BinaryIO, start: int, end: int, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._filled = 0
        self._filled_count = 0
        self._gaps: deque[Gap] = deque(_gaps(file, start, end, rate_hz))
        self._left = self._gaps[0].frames if self._gaps else 0

    def silence(self, read_frames: int, max_frames: int, channels: int) -> Samples | None:
        """Silence that comes now, float32 [S, C]; None if sound does."""
        if not self._gaps or read_frames < self._gaps[0].at:
            return None
        count = min(self._left, max_frames)
        self._left -= count
        self._filled += count
        if not self._left:
            self._gaps.popleft()
            self._filled_count += 1
            self._left = self._gaps[0].frames if self._gaps else 0
        return np.zeros((count, channels), np.float32)

    def until_next(self, read_frames: int, max_frames: int) -> int:
        """How many frames may be decoded before the next gap."""
        if not self._gaps:
            return max_frames
        return min(max_frames, self._gaps[0].at - read_frames)

    def notes(self) -> list[str]:
        """What to tell at the end."""
        if not self._filled:
            return []
        seconds, many = self._filled / self._rate_hz, self._filled_count > 1
        places = f"{self._filled_count} places" if many else "one place"
        return [f"{seconds:.1f} s are missing in {places}; silence stands for them"]


class Page:
    """One page: where it is, and what its head says. `body` is the packets' bytes."""

    def __init__(self, at: int, head: bytes, body: bytes) -> None:
        self.at = at
        self.flags = head[5]
        self.granule: int = struct.unpack_from("<q", head, 6)[0]
        self.serial = head[14:18]
        self.number: int = struct.unpack_from("<I", head, 18)[0]
        self.sizes = head[27:]
        self.body = body

    @property
    def first(self) -> bool:
        """Whether a stream begins with it."""
        return bool(self.flags & 2)


def pages(file: BinaryIO, start: int) -> Iterator[Page]:
    """Whole pages from byte `start` on; what is between them, and damaged ones, are passed over."""
    at = start
    while True:
        file.seek(at)
        head = file.read(27)
        if len(head) == 27 and head[:4] == b"OggS":
            head += file.read(head[26])
            body = file.read(sum(head[27:]))
            if len(body) == sum(head[27:]) and _checksum(head, body) == head[22:26]:
                yield Page(at, head, body)
                at += len(head) + len(body)
                continue
        elif not head:
            return
        at = find(file, b"OggS", at + 1)
        if at < 0:
            return


def next_link(file: BinaryIO, start: int) -> int | None:
    """The first page of the chain's link after the one at `start`."""
    in_head = True
    for page in pages(file, start):
        if page.first and not in_head:
            return page.at
        # Streams side by side all begin before any goes on.
        in_head = in_head and page.first
    return None


def _checksum(head: bytes, body: bytes) -> bytes:
    """RFC 3533's CRC: zlib's, with the bits of each byte and of the result the other way round."""
    data = (head[:22] + b"\0\0\0\0" + head[26:] + body).translate(_MIRRORED)
    crc = zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_MIRRORED)


def _gaps(file: BinaryIO, start: int, end: int, rate_hz: int) -> list[Gap]:
    gaps: list[Gap] = []
    serial, opus, unit_hz, skipped = b"", False, 0, 0
    decoded = 0  # in the units of the positions
    n_bytes = n_units = 0
    filled_s = 0.0
    before: Page | None = None
    tail = b""
    for page in pages(file, start):
        if page.at >= end or len(gaps) >= _MAX_GAPS:
            break
        if not serial:
            opus = page.body[:8] == b"OpusHead" and len(page.body) >= 19
            vorbis = page.body[:7] == b"\x01vorbis" and len(page.body) >= 16
            if not opus and not vorbis:
                return []
            serial = page.serial
            unit_hz = _OPUS_RATE_HZ if opus else struct.unpack_from("<I", page.body, 12)[0]
            skipped = struct.unpack_from("<H", page.body, 10)[0] if opus else 0
            if not unit_hz:
                return []
            continue
        if page.serial != serial or page.granule <= 0:
            continue
        claimed = page.granule - (before.granule if before is not None else 0)
        after_hole = before is not None and page.number != before.number + 1
        if opus:
            duration, tail = _opus_duration(page, tail if not after_hole else b"")
        elif after_hole and n_bytes:
            # Vorbis packets do not say how long they are: as many bytes, as long.
            duration = min(claimed, len(page.body) * n_units // n_bytes)
        else:
            duration = claimed
        lost = claimed - duration
        # The last page may end before its last packet does.
        judged = after_hole or (before is not None and not page.flags & 4)
        if judged and _LEAST_GAP_S <= lost / unit_hz <= _MAX_GAP_S - filled_s:
            place = max(0, decoded - skipped)
            filled_s += lost / unit_hz
            gaps.append(Gap(place * rate_hz // unit_hz, lost * rate_hz // unit_hz))
        if not after_hole:
            n_bytes, n_units = n_bytes + len(page.body), n_units + max(0, claimed)
        before = page
        decoded += max(0, duration)
    return gaps


def _opus_duration(page: Page, tail: bytes) -> tuple[int, bytes]:
    """Samples at 48 kHz of the packets that end in `page`; the start of one that goes on.

    `tail` is the start of the packet that the page before began.
    """
    duration, offset = 0, 0
    packet = tail if page.flags & 1 else None
    for length in page.sizes:
        if packet is None:
            packet = page.body[offset : offset + 2]
        offset += length
        if length < 255:
            duration += packet_samples(packet)
            packet = None
    return duration, packet or b""


def packet_samples(packet: bytes) -> int:
    """Samples at 48 kHz in an Opus packet, from its first two bytes (RFC 6716, section 3.1)."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[code]
    return frame * min(count, 48)
