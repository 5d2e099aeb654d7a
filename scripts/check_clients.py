"""Let LiveKit's and pipecat's own speech-to-text classes hear speech through a server on loopback.

    python scripts/check_clients.py --into clients

Each has an environment of its own in that folder, for their packages exclude each other; they are
made at first (420 and 530 MB). The server is `edge-audiokv serve` with the default model. Every way
in which a client hears must give at least three words in four of what is said; what it gave is
printed, and it ends with 1 if one did not. `--only livekit` tries one.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import soundfile

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "livekit": "livekit-plugins-openai>=1.8.9",
    "pipecat": "pipecat-ai[openai]>=1.14",
}
WITHIN_S = 300
LEAST_SHARE = 0.75


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, required=True, help="folder of the environments")
    parser.add_argument("--only", choices=list(PACKAGES))
    parser.add_argument("--mem", default="1GB")
    given = parser.parse_args()
    names = [given.only] if given.only else list(PACKAGES)
    pythons = {name: environment(given.into.resolve() / name, PACKAGES[name]) for name in names}
    rows = [
        json.loads(line) for line in (ROOT / "tests/data/manifest.jsonl").read_text().splitlines()
    ]
    (clip,) = (row for row in rows if row["id"] == "garden")
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        samples, rate_hz = soundfile.read(ROOT / "tests/data" / clip["path"], dtype="int16")
        soundfile.write(path, samples, rate_hz)
        serving = subprocess.Popen(
            [sys.executable, "-m", "edge_audiokv", "serve", "--port", "0", "--mem", given.mem],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            url = address(serving)
            for name, python in pythons.items():
                fine = check(name, python, url, path, clip["text"]) and fine
        finally:
            serving.terminate()
            serving.communicate()
    sys.exit(not fine)


def environment(folder: Path, package: str) -> Path:
    """The Python of an environment with `package`, which is made if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        print(f"making {folder} with {package}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", package], check=True)
        (folder / "made").touch()
    return python


def address(serving: subprocess.Popen[str]) -> str:
    assert serving.stderr is not None
    told = serving.stderr.readline()
    found = re.search(r"http://\S+:\d+", told)
    if found is None:
        sys.exit(told + serving.stderr.read())
    return f"{found[0]}/v1"


def check(name: str, python: Path, url: str, path: Path, meant: str) -> bool:
    """Did the client hear what was said in all of its ways?"""
    command = [python, ROOT / "scripts/clients" / f"{name}_stt.py", url, path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    lines = [line for line in ran.stdout.splitlines() if line]
    fine = not ran.returncode and bool(lines)
    for line in lines:
        told = json.loads(line)
        share = heard(" ".join(told["texts"]), meant)
        fine = fine and share >= LEAST_SHARE
        print(f"{name}, {told['way']}: {share:.0%} of the words: {' | '.join(told['texts'])}")
    if ran.returncode:
        print(ran.stderr)
    return fine


def heard(text: str, meant: str) -> float:
    """The share of the words of `meant` that `text` has."""
    said, words = (set(re.findall(r"[a-z']+", each.lower())) for each in (text, meant))
    return len(said & words) / len(words)


if __name__ == "__main__":
    main()
