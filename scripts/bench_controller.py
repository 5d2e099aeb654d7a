"""Cost of one eviction against the prefill of the audio it follows, in one run.

Reads `seconds` of audio into a full cache, then times the controller's steps (score, smooth,
protect, allocate, select, keep) on it. Times are processor seconds of this process, so that a busy
machine does not blur the ratio; the median of `--repeats` evictions, each from the same saved
state.

    python scripts/bench_controller.py --manifest dev/manifest.jsonl --seconds 90
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from edge_audiokv.calibrate.clips import plan_joins
from edge_audiokv.calibrate.parts import load_parts
from edge_audiokv.calibrate.prefilled import Prefilled
from edge_audiokv.kv.budget import apart
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.profile import load_profile
from edge_audiokv.kv.select import select
from edge_audiokv.native.context import HeadwiseContext


@click.command(help=__doc__)
@click.option("--model", default="smollm2-audio", show_default=True)
@click.option("--manifest", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--seconds", default=90.0, show_default=True)
@click.option("--policy", "name", default="audiokv-edge", show_default=True)
@click.option("--share", default=0.4, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--profile", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    model: str,
    manifest: Path,
    seconds: float,
    name: str,
    share: float,
    repeats: int,
    profile: Path | None,
    json_path: Path | None,
) -> None:
    parts = load_parts(model)
    policy = make_policy(name, profile=None if profile is None else load_profile(profile))
    clip = next(plan_joins(parts, manifest, seconds=seconds, limit=1)).encode(parts)
    began = time.process_time()
    start = Prefilled(parts, clip)
    prefill_s = time.process_time() - began
    targets = start.targets(policy, share)
    capacity = apart(targets, start.n_rows + 64)
    steps: dict[str, list[float]] = {}

    def timed(step: str, call: Callable[[], object]) -> object:
        before = time.process_time()
        result = call()
        steps.setdefault(step, []).append(time.process_time() - before)
        return result

    with HeadwiseContext(parts.model, capacity, n_threads=1, score_window=0) as context:
        for _ in range(repeats):
            context.clear()
            context.load_state(start.state)
            controller = start.controller(policy)
            total = int(share * context.counts.sum())
            view = timed("view", lambda c=controller: c.view(context, context.counts))
            timed(
                "allocate",
                lambda v=view, n=total: policy.budgets(n, context.shape, start.n_rows, view=v),
            )
            view = controller.view(context, targets)
            scores = timed("score", lambda v=view: policy.score(v))
            smooth = timed("smooth", lambda v=view, s=scores: policy.smooth(v, s))
            tiers = timed("protect", lambda v=view: policy.protect(v))
            rows = timed(
                "select", lambda v=view, s=smooth, t=tiers: select(s, t, v.counts, v.targets)
            )
            timed("keep", lambda r=rows: context.keep(r))
            timed("follow", lambda r=rows, c=controller: c.kept(r))
    start.close()
    parts.close()
    each = {step: statistics.median(times) for step, times in steps.items()}
    whole_s = sum(each.values())
    result = {
        "policy": name,
        "audio_s": round(clip.audio_s, 1),
        "rows": int(np.prod(targets.shape)) * start.n_rows,
        "prefill_s": round(prefill_s, 4),
        "eviction_s": round(whole_s, 5),
        "ratio": round(whole_s / prefill_s, 5),
        "steps_ms": {step: round(1000 * s, 2) for step, s in each.items()},
    }
    click.echo(json.dumps(result, indent=1))
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
