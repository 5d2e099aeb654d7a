"""Files that libsndfile does not read, made with PyAV's own encoders."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np

from edge_audiokv.audio.source import Samples

# name: (FFmpeg's name of the container, codec)
CONTAINERS = {
    "m4a": ("ipod", "aac"),
    "mp4": ("mp4", "aac"),
    "aac": ("adts", "aac"),
    "webm": ("webm", "libopus"),
    "mkv": ("matroska", "flac"),
    "mka": ("matroska", "aac"),
    "wma": ("asf", "wmav2"),
    "avi": ("avi", "mp2"),
    "ts": ("mpegts", "mp2"),
}


def encode(
    samples: Samples, name: str, *, rate_hz: int = 16_000, skip: tuple[float, float] | None = None
) -> bytes:
    """float32 [S] or [S, C] in a container; positions from `skip[0]` s on are `skip[1]` s later."""
    kind, codec = CONTAINERS[name]
    memory = io.BytesIO()
    frames = samples[:, None] if samples.ndim == 1 else samples
    layout = {1: "mono", 2: "stereo"}[frames.shape[1]]
    with av.open(memory, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=48_000 if codec == "libopus" else rate_hz)
        stream.layout = layout
        stream.bit_rate = 64_000
        fifo = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(frames.reshape(1, -1)), format="flt", layout=layout
        )
        fifo.sample_rate = rate_hz
        fifo.pts = 0
        packets = [p for f in _pieces(fifo, stream) for p in stream.encode(f)]
        for packet in [*packets, *stream.encode(None)]:
            if skip is not None and packet.pts is not None and packet.dts is not None:
                later = float(packet.pts * packet.time_base) >= skip[0]
                moved = round(skip[1] / packet.time_base) if later else 0
                packet.pts += moved
                packet.dts += moved
            container.mux(packet)
    return memory.getvalue()


def _pieces(frame: Any, stream: Any) -> list[Any]:
    codec = stream.codec_context
    resampler = av.AudioResampler(
        format=codec.format, layout=codec.layout, rate=codec.rate, frame_size=1024
    )
    return [*resampler.resample(frame), *resampler.resample(None)]
