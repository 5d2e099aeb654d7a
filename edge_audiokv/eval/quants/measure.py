"""Measure one cell in a process of its own: its memory is its own, and a crash costs no other.

    python -m edge_audiokv.eval.quants.measure < JOB.json

A line of JSON on standard output for every clip that is done, the last one with all that was found.
Each clip is decoded at once, without speech detection, the whole way of the product. Then the LLM
alone reads the text that the base wrote, token by token, in the same cache cut the same way. What
it would write first is of the whole prompt, before the cut, as in the product.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import edge_audiokv.errors as errors
from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.files.file import read_all
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.engine.trial import try_files
from edge_audiokv.errors import EdgeAudioKVError, MemoryBudgetError, ModelError
from edge_audiokv.eval.quants.divergence import Kept, compare, keep, load, save
from edge_audiokv.kv.memory import peak_rss_bytes
from edge_audiokv.models import catalog, download
from edge_audiokv.native.probe import check_in_child

# Longest clip, in seconds, unless the model takes less.
LONGEST_S = 30.0


@dataclass(frozen=True)
class Job:
    """One cell. `settings` are fields of EngineSettings, `clips` paths of sound.

    `base` is the folder of what the base wrote and chose; `is_base` fills it.
    """

    gguf: str
    settings: dict[str, Any]
    clips: list[str]
    base: str
    is_base: bool = False


@dataclass(frozen=True)
class ClipFound:
    """One clip. `nats` are of each place of the base's text, `left_out` is the most that their sum
    may miss; rows are counted over all heads, `kv_bytes` with those of the text.
    """

    text: str
    flags: tuple[str, ...]
    audio_s: float
    nats: list[float]
    left_out: float
    same_top: int
    kept_rows: int
    full_rows: int
    kv_bytes: int


def run(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
    """Measure in a child; `on_clip` is told how many clips are done.

    Raises what the child raised, or ModelError if it died.
    """
    told: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words,
        subprocess.Popen(
            # -P: what lies where we stand is nobody's module.
            [sys.executable, "-P", "-m", "edge_audiokv.eval.quants.measure"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env={**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONWARNINGS": "ignore"},
        ) as child,
    ):
        try:
            if child.stdin is not None:
                child.stdin.write(json.dumps(asdict(job)))
                child.stdin.close()
            for line in child.stdout or ():
                if line.startswith("{"):
                    told = json.loads(line)
                    if "done" in told:
                        on_clip(told["done"])
        except BrokenPipeError:
            pass  # it died before it read its job: told below
        except BaseException:
            child.kill()
            raise
        child.wait()
        words.seek(0)
        last = (words.read().strip().splitlines() or ["no reason given"])[-1]
    if "error" in told:
        kind = getattr(errors, told["error"], EdgeAudioKVError)
        raise kind(told["what"], cure=told["cure"])
    if child.returncode != 0 or "found" not in told:
        raise ModelError(
            f"The process that measured it ended with code {child.returncode}: {last}.",
            cure="Run the same command again to try this cell once more.",
        )
    return dict(told["found"])


def measure(job: Job, tell: Callable[[int], None]) -> dict[str, Any]:
    """All clips of a cell. Raises EdgeAudioKVError."""
    settings = EngineSettings(**job.settings)
    local = download.ensure(catalog.resolve(settings.model), check=check_in_child)
    # As a merged file it stands for LLM and adapter, and the head profile is still the model's.
    local = replace(local, merged_path=Path(job.gguf))
    try_files(local)
    started_s = time.perf_counter()
    endpoint = EndpointConfig(max_segment_s=LONGEST_S)
    with Transcriber(settings, endpoint=endpoint, local=local) as transcriber:
        load_s = time.perf_counter() - started_s
        needed_bytes = transcriber.runtime.reads_from_bytes
        if needed_bytes is not None:
            raise MemoryBudgetError(
                f"--mem {settings.mem} leaves no room for the model's reader beside these weights,"
                " and cells without it are not compared with others.",
                cure=f"Use --mem {needed_bytes // 1_000_000}MB or more, or --word-weight 0.",
                required_bytes=needed_bytes,
            )
        found = []
        for index, path in enumerate(job.clips):
            place = Path(job.base, f"{index}.npz")
            found.append(_measure_clip(transcriber, path, place, write=job.is_base))
            tell(index + 1)
        watch = transcriber.watch
        return {
            "clips": [asdict(clip) for clip in found],
            "pool_bytes": transcriber.cache.context.pool_nbytes,
            "timings": {
                "load_s": load_s,
                "tokens_per_s": watch.text_tokens / watch.decode_s if watch.decode_s else 0.0,
                "realtime_factor": watch.realtime_factor,
                "peak_rss_bytes": peak_rss_bytes(),
                "took_s": time.perf_counter() - started_s,
            },
        }


def _measure_clip(transcriber: Transcriber, path: str, place: Path, *, write: bool) -> ClipFound:
    recognizer, cache = transcriber.recognizer, transcriber.cache
    samples = read_all(Path(path))
    heard = recognizer.recognize(samples)
    decoded = heard.decoded
    if write:
        save(keep(decoded.ids, recognizer.forced(heard.sound, decoded.ids)), place)
    base = _read(place)
    nats, left_out, same_top, kept_rows = [], 0.0, 0, 0
    for index, row in enumerate(recognizer.forced(heard.sound, base.text_ids)):
        if not index:
            kept_rows = int(cache.context.counts.sum())
        apart = compare(base, index, row)
        nats.append(apart.nats)
        left_out += apart.left_out
        same_top += apart.same_top
    shape = cache.context.shape
    return ClipFound(
        decoded.text,
        decoded.flags,
        len(samples) / transcriber.runtime.encoder.sample_rate_hz,
        nats,
        left_out,
        same_top,
        kept_rows,
        (cache.next_position - len(base.text_ids)) * shape.n_head,
        int(cache.context.counts.sum()) * shape.row_bytes,
    )


def _read(place: Path) -> Kept:
    try:
        return load(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"What the base wrote is not to be read from {place} ({error}).",
            cure="Remove that folder: the base is measured again.",
        ) from None


def _main(lines: Sequence[str]) -> int:
    # Who started us tells us when to end; without anybody the next line ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = Job(**json.loads("".join(lines)))
    try:
        found = measure(job, lambda done: print(json.dumps({"done": done}), flush=True))
    except EdgeAudioKVError as error:
        kind = type(error).__name__
        print(json.dumps({"error": kind, "what": error.what, "cure": error.cure}), flush=True)
        return error.exit_code
    print(json.dumps({"found": found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.stdin.readlines()))
