"""What the fuzzers share: options, jobs in processes of their own, a line of progress, a verdict.

A job tells each seed before its case, in shared memory; so when a process ends by a signal, hangs
or raises, the case is known and can be run again alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    cases: int
    seed: int
    jobs: int
    timeout_s: float
    steps: int


def options(
    description: str, *, cases: int = 1000, timeout_s: float = 60, steps: int = 0
) -> Options:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each has its own")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--timeout-s", type=float, default=timeout_s, help="a case that takes longer hangs"
    )
    parser.add_argument("--steps", type=int, default=steps, help=argparse.SUPPRESS)
    given = parser.parse_args()
    return Options(given.cases, given.seed, max(1, given.jobs), given.timeout_s, given.steps)


def run(given: Options, work: Callable[[range], Iterator[int]]) -> None:
    """Let `work` go through all seeds, in `jobs` processes; exit with 1 at the first fault."""
    fork = multiprocessing.get_context("fork")
    last = given.seed + given.cases
    shares = [range(given.seed + job, last, given.jobs) for job in range(given.jobs)]
    jobs = []
    for share in shares:
        at, done = fork.Value("q", -1), fork.Value("q", 0)
        process = fork.Process(target=_job, args=(work, share, at, done))
        process.start()
        jobs.append((process, at, done, [time.monotonic(), -1]))
    begun = time.monotonic()
    fault = None
    while fault is None and any(process.is_alive() for process, *_ in jobs):
        time.sleep(1)
        total = sum(done.value for _, _, done, _ in jobs)
        left_s = (time.monotonic() - begun) / max(1, total) * (given.cases - total)
        print(
            f"\r{total}/{given.cases} cases, about {left_s / 60:.0f} min left ",
            end="",
            file=sys.stderr,
        )
        for process, at, _, seen in jobs:
            if at.value != seen[1]:
                seen[:] = [time.monotonic(), at.value]
            elif process.is_alive() and time.monotonic() - seen[0] > given.timeout_s:
                fault = f"case {at.value} hangs"
        fault = fault or _ended_badly(jobs)
    fault = fault or _ended_badly(jobs)
    for process, *_ in jobs:
        if fault is not None:
            process.kill()
        process.join()
    print(file=sys.stderr)
    total = sum(done.value for _, _, done, _ in jobs)
    if fault is not None:
        print(f"{total} cases, then a fault: {fault}")
        sys.exit(1)
    print(f"{total} cases, no fault, {time.monotonic() - begun:.0f} s")


def in_child(
    body: Callable[[], object], *, within_s: int, bearable: tuple[type[Exception], ...] = ()
) -> int:
    """What becomes of `body` in a process of its own, whose words nobody sees.

    0: done; 1: one of our errors in one clean line, or a `bearable` one; 2: another exception;
    negative: a signal.
    """
    child = os.fork()
    if child == 0:
        from edge_audiokv.errors import EdgeAudioKVError

        code = 2
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            signal.alarm(within_s)
            body()
            code = 0
        except EdgeAudioKVError as error:
            code = 1 if str(error).isprintable() else 2
        except bearable:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _ended_badly(jobs: list) -> str | None:
    for process, at, _, _ in jobs:
        if process.exitcode not in (None, 0):
            how = f"ends by signal {-process.exitcode}" if process.exitcode < 0 else "raises"
            return f"case {at.value} {how}; again: --seed {at.value} --cases 1"
    return None


def _job(work: Callable[[range], Iterator[int]], share: range, at, done) -> None:
    try:
        for seed in work(share):
            if at.value >= 0:
                done.value += 1
            at.value = seed
        done.value += 1
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
