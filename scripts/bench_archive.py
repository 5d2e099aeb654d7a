"""Time a search in an archive of many hours of generated talk, beside one of a single hour.

    python scripts/bench_archive.py --hours 100

Words are drawn as in real speech: a few are in nearly every turn, most are rare (Zipf). Questions
have six that are not among the hundred commonest, which a search leaves out. Prints the
median and the slowest of the searches, the bytes an hour takes, and what keeping a turn costs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.archive.store import Archive
from edge_audiokv.units import format_bytes

TURN_S, WORDS_A_TURN, VOCABULARY = 10.0, 25, 20_000
COMMON = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=100.0)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    syllables = [a + b for a, b in itertools.product("bdfgklmnprst", "aeiou")]
    words = ["".join(rng.choice(syllables, rng.integers(2, 5))) for _ in range(VOCABULARY)]
    share = 1 / np.arange(1, VOCABULARY + 1)
    share /= share.sum()
    with tempfile.TemporaryDirectory() as folder:
        times = {}
        for hours in (1.0, given.hours):
            with Archive(Path(folder) / f"{hours}", max_bytes=1 << 30) as archive:
                n_turns = int(hours * 3600 / TURN_S)
                session = archive.begin("generated")
                with archive.together():
                    for turn in range(n_turns):
                        text = drawn(rng, words, share, WORDS_A_TURN)
                        archive.add(session, turn * TURN_S, (turn + 1) * TURN_S, text)
                hour_bytes = archive.file_bytes / hours
                times[hours] = [
                    timed(archive, drawn(rng, words[COMMON:], share[COMMON:], 6))
                    for _ in range(given.searches)
                ]
                begun_s = time.perf_counter()
                for turn in range(20):
                    archive.add(session, turn * TURN_S, turn * TURN_S + 1, "one more turn")
                add_ms = (time.perf_counter() - begun_s) / 20 * 1000
            median_ms, slowest_ms = statistics.median(times[hours]), max(times[hours])
            print(
                f"{hours:6.0f} h, {n_turns} turns, {format_bytes(hour_bytes)} an hour: search "
                f"{median_ms:.1f} ms, slowest {slowest_ms:.1f} ms; keeping a turn {add_ms:.1f} ms"
            )


def drawn(
    rng: np.random.Generator, words: list[str], share: NDArray[np.float64], count: int
) -> str:
    sums = np.cumsum(share)
    return " ".join(words[i] for i in np.searchsorted(sums, rng.random(count) * sums[-1]))


def timed(archive: Archive, question: str) -> float:
    begun_s = time.perf_counter()
    archive.search(question, limit=8)
    return (time.perf_counter() - begun_s) * 1000


if __name__ == "__main__":
    main()
