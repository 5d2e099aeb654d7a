"""An hour of silence after a sentence, in a process of its own: `silent_hour.py CONTEXT`.

Prints one JSON object: what the session did, and by how much resident memory grew. Alone, because
the kernel fills holes in the heap with huge pages wherever numpy once held a large array, and a
process that has run other tests has many such holes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import soundfile

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.session import Session
from edge_audiokv.events import Final
from edge_audiokv.kv.memory import rss_bytes

DATA = Path(__file__).parents[1] / "data"
RATE_HZ = 16_000


def clip(name: str) -> np.ndarray:
    samples: np.ndarray = soundfile.read(DATA / f"{name}.flac", dtype="float32")[0]
    return samples


def main(context: str) -> dict[str, object]:
    endpoint = EndpointConfig(max_segment_s=8.0)
    with Session(
        threads=1, mem="4GB", context=context, report_interval_s=60.0, endpoint=endpoint
    ) as session:
        session.feed(clip("harbour"), live=False)
        session.finish()
        memory = session.caches.memory
        before = int(memory.context.counts.sum()), memory.next_position, session.watch.audio_s
        minute = np.zeros(60 * RATE_HZ, np.float32)
        minute[::RATE_HZ] = 1e-4  # not even digital silence: a faint tick a second
        events = session.feed(minute, live=False)
        rss_before_bytes = rss_bytes()
        for _ in range(59):
            events += session.feed(minute, live=False)
        grown_bytes = rss_bytes() - rss_before_bytes
        after = int(memory.context.counts.sum()), memory.next_position, session.watch.audio_s
        heard = [*session.feed(clip("garden"), live=False), *session.finish()]
    return {
        "events": [type(event).__name__ for event in events],
        "before": before,
        "after": after,
        "grown_bytes": grown_bytes,
        "text": " ".join(event.text for event in heard if isinstance(event, Final)),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
