"""Kill writers of an archive in the middle of what they do: run by test_kill.py, in a process that
is small and has one thread, so that it can fork two hundred times.

    python killing.py told FOLDER     kills; then all that was told must be there
    python killing.py full FOLDER     kills while the oldest turns are dropped
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge_audiokv.archive.store import LEAST_BYTES, Archive

KILLS = 200
WORDS = "some words about boats and harbours " * 40


def told(path: Path) -> None:
    draw, heard = random.Random(3), []
    for number in range(KILLS):
        read, write = os.pipe()
        child = fork(lambda number=number, write=write: say_without_end(path, number, write))
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            # Some die before they say anything, some in the middle of opening.
            lines = [stream.readline() for _ in range(draw.randrange(4))]
            time.sleep(draw.random() * 0.004)
            kill(child)
            lines += stream.readlines()
        # The last may be half told.
        heard += [line.decode().strip() for line in lines if line.endswith(b"\n")]
    with Archive(path, create=False) as archive:
        kept = {turn.text for turn in archive.turns()}
        newest = {found.turn.text for found in archive.search(heard[-1].split()[-1], limit=3)}
    lost = set(heard) - kept
    print(f"{KILLS} kills, {len(heard)} turns told, {len(lost)} lost")
    sys.exit(bool(lost) or heard[-1] not in newest or len(heard) < KILLS)


def full(path: Path) -> None:
    with Archive(path, max_bytes=LEAST_BYTES) as archive, archive.together():
        session = archive.begin("microphone")
        while archive.file_bytes < LEAST_BYTES * 0.75:
            archive.add(session, 0.0, 1.0, WORDS)
    wrong = 0
    for number in range(20):
        child = fork(lambda number=number: fill(path, number))
        time.sleep(0.02)
        kill(child)
        with Archive(path, create=False) as archive:
            held = {turn.id for turn in archive.turns()}
            found = {item.turn.id for item in archive.search("boats", limit=10_000)}
        wrong += held != found or path.stat().st_size > LEAST_BYTES
    print(f"20 kills, {len(held)} turns held, {wrong} times something else than is indexed")
    sys.exit(wrong > 0)


def say_without_end(path: Path, number: int, write: int) -> None:
    with Archive(path) as archive:
        session = archive.begin(f"run {number}")
        for turn in range(10**6):
            text = f"turn {turn} of run {number} word{number}x{turn}"
            archive.add(session, float(turn), turn + 1.0, text)
            os.write(write, f"{text}\n".encode())


def fill(path: Path, number: int) -> None:
    with Archive(path, max_bytes=LEAST_BYTES) as archive:
        session = archive.begin(f"run {number}")
        while True:
            archive.add(session, 0.0, 1.0, WORDS)


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    {"told": told, "full": full}[sys.argv[1]](Path(sys.argv[2]) / "killed.archive")
