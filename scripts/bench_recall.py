"""What bringing turns back for a question costs: the same question with and without, in turn.

    python scripts/bench_recall.py talk.flac "What is said about the boat?"
    python scripts/bench_recall.py talk.flac "What is said about the boat?" --repeat 3 --cpu-time

Two sessions hear FILE, one of them with recall; then both are asked, one after the other. Prints
the medians, their ratio, what was brought back and both answers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack

from edge_audiokv.engine.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("questions", nargs="+", metavar="question")
    parser.add_argument("--mem", default="2GB", help="for both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeat", type=int, default=1, help="hear FILE so many times")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of this process, where others are at work"
    )
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    with ExitStack() as stack:
        sessions = {}
        for recall in (False, True):
            sessions[recall] = stack.enter_context(
                Session(mem=given.mem, recall=recall, threads=given.threads, partial_interval_s=0.0)
            )
            for _ in range(given.repeat):
                for _ in sessions[recall].listen(given.file):
                    pass
        for question in given.questions:
            times: dict[bool, list[float]] = {False: [], True: []}
            answers = {}
            for _ in range(given.rounds):
                for recall, session in sessions.items():
                    begun_s = clock()
                    answers[recall] = session.ask(question)
                    times[recall].append(clock() - begun_s)
            without_s, with_s = (statistics.median(times[recall]) for recall in (False, True))
            clocks = [f"{source.start_s:.0f} s" for source in answers[True].sources]
            print(
                f"{question}\n  without {without_s * 1000:.0f} ms, with {with_s * 1000:.0f} ms "
                f"({with_s / without_s:.2f}x), sources: {', '.join(clocks) or 'none'}\n"
                f"  without: {answers[False].text}\n  with:    {answers[True].text}"
            )


if __name__ == "__main__":
    main()
