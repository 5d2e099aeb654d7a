"""Let schemathesis loose on a server by its own description: no answer is a 5xx, or is not in it.

    python scripts/fuzz_openapi.py --cases 5000 --seed 0

Requests are made from /openapi.json, valid ones and ones with something wrong, and each answer is
held against it: status, type, headers and document. Valid ones may be refused, since not every rule
can be written as a schema. The model is scripted. It repeats with the next seed until there were
enough cases, and ends with 1 at the first run with a fault, which it prints.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from edge_audiokv.server.limits import Limits
from tests.server.house import Running
from tests.server.scripted import ScriptedEngine

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
# Of a run, for each operation; and how long it may take.
MAX_EXAMPLES = 200
WITHIN_S = 1800


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    given = parser.parse_args()
    engine = ScriptedEngine()
    with tempfile.TemporaryDirectory() as folder:
        server = Running(engine, Path(folder), Limits())
        server.start()
        ended = threading.Event()
        forgetting = threading.Thread(target=forget, args=(engine, ended))
        forgetting.start()
        try:
            total, seed = 0, given.seed
            while total < given.cases:
                total += attack(server.port, seed, min(MAX_EXAMPLES, given.cases - total), folder)
                seed += 1
                print(f"{total} of {given.cases} cases", file=sys.stderr)
        finally:
            ended.set()
            forgetting.join()
            server.end()
    print(f"{total} cases, no fault")


def forget(engine: ScriptedEngine, ended: threading.Event) -> None:
    """What the engine keeps for tests would grow."""
    while not ended.wait(0.5):
        for kept in (engine.heard, engine.files, engine.asked):
            kept.clear()


def attack(port: int, seed: int, most: int, folder: str) -> int:
    """One run, of at most so many fuzzed cases for an operation; how many cases it had."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json",
        "--seed", str(seed), "--max-examples", str(most), "--checks", ",".join(CHECKS),
        "--no-color",
    ]  # fmt: skip
    # With few cases asked for, no more than those.
    command += ["--phases", "examples,coverage,fuzzing" if most == MAX_EXAMPLES else "fuzzing"]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    found = re.search(r"(\d+) generated", ran.stdout)
    if ran.returncode or found is None:
        print(ran.stdout, ran.stderr, f"a fault in the run with --seed {seed}", sep="\n")
        sys.exit(1)
    return int(found[1])


if __name__ == "__main__":
    main()
