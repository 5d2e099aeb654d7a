"""Convert a checkpoint and say what memory each step took, against its largest group of tensors.

    python scripts/make_full_size.py qwen3-asr-1.7b checkpoint
    python scripts/measure_convert.py checkpoint model

The largest group is the audio tower with its projector in float32, or the LLM's largest tensor if
that is larger. Memory is that of all processes together, resident and private: the former has
pages of mapped files, too, which the kernel takes back when somebody needs them. Linux.
The last step runs the finished encoder with its longest window, as every session does later: what
it takes is the model's, not the conversion's, and is left out of the sum.
What follows the two folders goes to `edge-audiokv models convert`. Exit code 1 if a step had more
than --most times the largest group for itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

_EVERY_S = 0.05
_MIB = 1 << 20
_TRIAL = "measure the encoder"


class Steps:
    """The most memory of each step; `step` is the one that is being done."""

    def __init__(self, pid: int) -> None:
        self.step = "read"
        self.most: dict[str, tuple[int, int]] = {}
        self._root = psutil.Process(pid)

    def look(self) -> None:
        """Bytes resident now, and those of them that no file backs."""
        resident = private = 0
        own = self._root.cmdline()
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                memory = process.memory_info()
                # A child that is about to become another program still has its parent's memory.
                if process != self._root and process.cmdline() == own:
                    continue
            except psutil.NoSuchProcess:
                continue
            resident += memory.rss
            private += memory.rss - memory.shared
        before = self.most.get(self.step, (0, 0))
        self.most[self.step] = max(before[0], resident), max(before[1], private)


def largest_group_bytes(folder: Path) -> int:
    from edge_audiokv.families.table import read

    plan = read(folder)
    tensors = plan.language.checkpoint.tensors.values()
    return 4 * max(plan.tower_count, *(stored.count for stored in tensors))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--most", type=float, default=1.5, help="times the largest group")
    given, rest = parser.parse_known_args()
    command = ["-m", "edge_audiokv", "models", "convert", str(given.checkpoint)]
    with subprocess.Popen(
        [sys.executable, *command, "-o", str(given.model), *rest],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as child:
        steps = Steps(child.pid)

        def listen() -> None:
            for line in child.stderr or ():
                steps.step = line.strip()

        listener = threading.Thread(target=listen)
        listener.start()
        while child.poll() is None:
            try:
                steps.look()
            except psutil.NoSuchProcess:
                break
            time.sleep(_EVERY_S)
        listener.join()
    if child.returncode != 0:
        print(steps.step, file=sys.stderr)
        return child.returncode
    largest = largest_group_bytes(given.checkpoint)
    print(f"largest group of tensors: {largest / _MIB:.0f} MiB")
    print(f"{'step':<32}{'resident':>10}{'private':>10} MiB")
    for step, (resident, private) in steps.most.items():
        print(f"{step:<32}{resident / _MIB:>10.0f}{private / _MIB:>10.0f}")
    converting = [most for step, most in steps.most.items() if step != _TRIAL]
    resident, private = (max(column) for column in zip(*converting, strict=True))
    print(
        f"{'most':<32}{resident / _MIB:>10.0f}{private / _MIB:>10.0f},"
        f" {resident / largest:.2f} and {private / largest:.2f} times the largest group"
    )
    return int(private > given.most * largest)


if __name__ == "__main__":
    sys.exit(main())
