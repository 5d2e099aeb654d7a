"""What a session remembers and takes under a cap, beside what `models plan` says of both.

    python scripts/make_full_size.py qwen3-asr-0.6b checkpoint
    edge-audiokv models convert checkpoint -o model
    python scripts/measure_remembered.py clips.jsonl 2GB 4GB -m ./model --minutes 10

Clips of a manifest are fed with pauses between them, without partial texts, until so many minutes
were heard; each cap has a process of its own, whose peak is the kernel's. What a second of speech
takes in the cache is counted until the cache is nearly full; "remembered" is its room over that.
Speed is told, not judged. Exit code 1 if a peak was above its cap, the ledger off by more than 3 %
or the minutes remembered by more than 5 %.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv import Session
from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.engine.memory.outlook import Remembering
from edge_audiokv.eval.listener import SessionListener
from edge_audiokv.eval.wer import read_manifest
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.models import catalog, download
from edge_audiokv.native.probe import check_in_child
from edge_audiokv.units import parse_bytes, parse_share

_PAUSE_S = 0.8
# Up to this much of its room a cache has thrown away nothing for want of it.
_NEARLY_FULL = 0.9
_LEDGER_OFF, _MINUTES_OFF = 0.03, 0.05
_HEAD = (
    "--mem",
    "rows kept",
    "peak RSS",
    "ledger off",
    "heard",
    "full",
    "remembered",
    "planned",
    "text",
    "realtime factor",
)


def planned_s(model: str, cap: str, share: float, policy: str) -> float:
    """Seconds of speech, by the sum that `models plan` prints."""
    local = download.ensure(catalog.resolve(model), check=check_in_child)
    outlook = Remembering.of_local(local).under(
        parse_bytes(cap), share=share, policy=make_policy(policy), type_k="f16", type_v="f16"
    )
    return outlook.remembered_s


def listen(options: argparse.Namespace, cap: str) -> dict[str, Any]:
    """One session under `cap`, in this process."""
    share = parse_share(options.kv_budget)
    planned = planned_s(options.model, cap, share, options.policy)
    clips = [read_all(clip.path) for clip in read_manifest(options.manifest, limit=options.clips)]
    pause = np.zeros(int(_PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    rows_per_s = speech_s = heard_s = off = 0.0
    n_segments = 0
    with Session(
        model=options.model,
        mem=cap,
        kv_share=share,
        kv_policy=options.policy,
        language=options.language,
        threads=options.threads,
        partial_interval_s=0.0,
        endpoint=EndpointConfig(max_segment_s=15.0),
    ) as session:
        session.load()
        listener, memory = SessionListener(session), session.caches.memory
        room = int(memory.context.capacity.sum())
        started = time.perf_counter()
        for clip in itertools.cycle(clips):
            texts = [*listener.feed(clip), *listener.feed(pause)]
            heard_s += (len(clip) + len(pause)) / SAMPLE_RATE_HZ
            speech_s += sum(final.end_s - final.start_s for final in texts)
            n_segments += len(texts)
            books = listener.books()
            off = max(off, abs(books.ledger_bytes / books.rss_bytes - 1))
            if speech_s and books.rows < _NEARLY_FULL * room:
                rows_per_s = books.rows / speech_s
            print(f"{heard_s:.0f} s heard, {books.rows} rows of {room}", file=sys.stderr)
            if heard_s >= 60 * options.minutes:
                break
        if not rows_per_s:
            sys.exit("Nothing was remembered before the cache was full: use clips with speech.")
        took_s, watch = time.perf_counter() - started, session.watch
        return {
            "room_share": books.rows / room,
            "peak_rss_bytes": listener.totals().peak_rss_bytes,
            "ledger_off_share": off,
            "heard_s": heard_s,
            "speech_s": speech_s,
            "segments": n_segments,
            "remembered_s": room / rows_per_s,
            "planned_s": planned,
            "tokens_per_s": watch.text_tokens / max(watch.decode_s, 1e-9),
            "realtime_factor": took_s / heard_s,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("caps", nargs="+", metavar="CAP")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="of sound under each cap")
    parser.add_argument("--clips", type=int, default=40, help="of the manifest, again and again")
    parser.add_argument("--kv-budget", default="100%")
    parser.add_argument("--policy", default="streaming-llm")
    parser.add_argument("--language", help="what the model is told")
    parser.add_argument("-t", "--threads", type=int)
    options = parser.parse_args()
    print(f"| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}", flush=True)
    wrong = False
    fresh = multiprocessing.get_context("spawn")
    for cap in options.caps:
        with ProcessPoolExecutor(1, mp_context=fresh) as child:
            found = child.submit(listen, options, cap).result()
        print(f"| {' | '.join(cells(cap, options.kv_budget, found))} |", flush=True)
        wrong |= (
            found["peak_rss_bytes"] > parse_bytes(cap)
            or found["ledger_off_share"] > _LEDGER_OFF
            or abs(found["remembered_s"] / found["planned_s"] - 1) > _MINUTES_OFF
        )
    sys.exit(wrong)


def cells(cap: str, share: str, found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    return [
        cap,
        share,
        f"{found['peak_rss_bytes'] / 1e6:.0f} MB",
        f"{found['ledger_off_share']:.1%}",
        f"{found['heard_s'] / 60:.1f} min, {found['speech_s'] / 60:.1f} of speech"
        f" in {found['segments']} segments",
        f"{found['room_share']:.0%} of the room",
        f"{found['remembered_s'] / 60:.1f} min",
        f"{found['planned_s'] / 60:.1f} min",
        f"{found['tokens_per_s']:.1f} tokens/s",
        f"{found['realtime_factor']:.2f}",
    ]


if __name__ == "__main__":
    main()
