"""How much does a policy lose at a budget? Loss of the reference text, per policy and retained
share.

One-shot protocol, as the papers measure: the whole prompt is read once, its keys and values are
cut to a share of their rows, and the reference is scored, teacher-forced, on what is left. All
policies and shares of a clip start from one saved state, so only the rows differ.

Stream protocol, as the product runs: the cache has the bytes of the share from the start, audio
arrives in chunks and rows go while it does; nothing ever exceeds the pool.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.calibrate.prefilled import Clip, Loss, Prefilled, likelihood
from edge_audiokv.errors import InputError
from edge_audiokv.kv.controller import Controller
from edge_audiokv.kv.novelty import Novelty
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import IntArray
from edge_audiokv.kv.view import Kind
from edge_audiokv.native.context import HeadwiseContext

RESAMPLES = 2000
CHUNK_TOKENS = 25
ROW_MULTIPLE = 64


@dataclass(frozen=True)
class Point:
    """One clip under one policy at one retained share."""

    protocol: str
    policy: str
    share: float
    clip: str
    audio_s: float
    nll: float
    n_tokens: int
    hits: int
    kept_rows: int
    full_rows: int
    pool_bytes: int
    divergence: float = 0.0


@dataclass(frozen=True)
class Summary:
    """Nats per token over all clips, with a 95 % bootstrap interval over clips.

    `rise` is the loss above the full cache relative to it (0.01 = 1 %), with its own interval from
    the same draws; `accuracy` the share of tokens that were the model's first choice;
    `divergence` KL(full || cut) per token in nats, of one-shot cuts.
    """

    protocol: str
    policy: str
    share: float
    n_clips: int
    n_tokens: int
    nll: float
    nll_low: float
    nll_high: float
    rise: float
    rise_low: float
    rise_high: float
    accuracy: float
    kept_share: float
    pool_bytes: int
    divergence: float = 0.0


def one_shot(start: Prefilled, policy: Policy, share: float) -> Loss:
    """Cut the prompt to `share` of its rows and score the reference. 1 keeps all."""
    return start.loss(policy, cut_targets(start, policy, share))


def cut_targets(start: Prefilled, policy: Policy, share: float) -> IntArray | None:
    """Rows of each head [L, H] for `share` of all rows, or None to keep all."""
    return None if share >= 1 or not policy.evicts else start.targets(policy, share)


def stream(parts: Parts, clip: Clip, policy: Policy, share: float) -> Loss:
    """Read `clip` in chunks into a pool of `share` of the full cache's bytes; score as it is
    written.

    The pool must also hold the reference's tokens. Text queries of earlier clips do not exist
    here, so before an eviction during audio the question is asked as a probe, observed and taken
    back.
    """
    n_rows = len(parts.before) + len(clip.embeddings) + len(parts.after) + len(clip.ids)
    shape = parts.model.shape
    least = 2 * CHUNK_TOKENS + len(parts.after)
    if share >= 1:
        capacity = np.full((shape.n_layer, shape.n_kv_head), n_rows + least, np.int32)
    else:
        wanted = int(share * n_rows * shape.n_head)
        capacity = policy.budgets(
            wanted, shape, n_rows, row_multiple=ROW_MULTIPLE, least_rows=least
        )
    with HeadwiseContext(parts.model, capacity, n_threads=1, n_outputs=32) as context:
        controller = Controller(policy, context.shape, context.capacity)
        probe, novelty = parts.after, Novelty()
        context.decode_tokens(parts.before, logits=False)
        controller.appended(Kind.PROMPT, len(parts.before))
        for at in range(0, len(clip.embeddings), CHUNK_TOKENS):
            part = clip.embeddings[at : at + CHUNK_TOKENS]
            controller.make_room(context, len(part) + len(probe))
            context.decode_embeddings(part, score=controller.uses_scores)
            new = novelty.measure(part) if controller.uses_novelty else None
            controller.appended(Kind.AUDIO, len(part), novelty=new)
            if controller.uses_scores:
                controller.observe(context, n_queries=min(32, len(part)), text=False)
            if controller.uses_scores and controller.must_evict(
                context.counts, CHUNK_TOKENS + len(probe)
            ):
                position = context.next_position
                context.decode_tokens(probe, logits=False, score=True)
                controller.appended(Kind.PROMPT, len(probe))
                controller.observe(context, n_queries=len(probe))
                context.truncate(position)
                controller.truncate(position, context.counts)
        controller.make_room(context, len(probe))
        context.decode_tokens(probe, logits=False, score=controller.uses_scores)
        controller.appended(Kind.PROMPT, len(probe))
        if controller.uses_scores:
            controller.observe(context, n_queries=len(probe))
        nll, hits = 0.0, 0
        step = 16
        for at in range(0, len(clip.ids) - 1, step):
            ids = clip.ids[at : at + step]
            controller.make_room(context, len(ids))
            logits = context.decode_tokens(ids, all_logits=True, score=controller.uses_scores)
            controller.appended(Kind.TEXT, len(ids))
            if controller.uses_scores:
                controller.observe(context, n_queries=len(ids))
            follow = clip.ids[at + 1 : at + step + 1]
            if logits is not None and follow:
                more, right = likelihood(logits[: len(follow)], follow)
                nll, hits = nll + more, hits + right
        kept, pool_bytes = int(context.counts.sum()), context.pool_nbytes
    return Loss(nll, len(clip.ids) - 1, hits, kept, n_rows * shape.n_head, pool_bytes)


def summarise(points: Sequence[Point], *, seed: int = 0) -> list[Summary]:
    """One Summary for each (protocol, policy, share); clips are drawn anew with replacement.

    Only clips that every row of a protocol has are used, so that rows compare like with like.
    """
    result: list[Summary] = []
    for protocol in sorted({point.protocol for point in points}):
        mine = [point for point in points if point.protocol == protocol]
        rows: dict[tuple[str, float], dict[str, Point]] = {}
        for point in mine:
            rows.setdefault((point.policy, point.share), {})[point.clip] = point
        shared = sorted(set.intersection(*(set(row) for row in rows.values())))
        if not shared:
            raise InputError(f"No clip was measured under every policy ({protocol}).")
        rng = np.random.default_rng(seed)
        draws = rng.integers(0, len(shared), (RESAMPLES, len(shared)))
        full_row = next((row for (_, share), row in rows.items() if share >= 1), None)
        tokens = np.array([next(iter(rows.values()))[clip].n_tokens for clip in shared])
        full = None if full_row is None else np.array([full_row[clip].nll for clip in shared])
        for (policy, share), row in sorted(rows.items()):
            nll = np.array([row[clip].nll for clip in shared])
            low, high = _interval(nll[draws].sum(1) / tokens[draws].sum(1))
            rise, rise_low, rise_high = 0.0, 0.0, 0.0
            if full is not None:
                rise = float(nll.sum() / full.sum()) - 1
                rise_low, rise_high = _interval(nll[draws].sum(1) / full[draws].sum(1) - 1)
            chosen = [row[clip] for clip in shared]
            result.append(
                Summary(
                    protocol,
                    policy,
                    share,
                    len(shared),
                    int(tokens.sum()),
                    float(nll.sum() / tokens.sum()),
                    low,
                    high,
                    rise,
                    rise_low,
                    rise_high,
                    sum(p.hits for p in chosen) / int(tokens.sum()),
                    sum(p.kept_rows for p in chosen) / sum(p.full_rows for p in chosen),
                    int(np.mean([p.pool_bytes for p in chosen])),
                    sum(p.divergence for p in chosen) / int(tokens.sum()),
                )
            )
    return result


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def read_points(path: Path) -> list[Point]:
    """Points of a JSONL file; none if there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Point(**json.loads(line)) for line in lines if line.strip()]


def append_points(path: Path, points: Iterable[Point]) -> None:
    """Append to a JSONL file, a whole clip at a time."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(asdict(point)) + "\n" for point in points))
        file.flush()
        os.fsync(file.fileno())


def divergence_table(summaries: Sequence[Summary]) -> str:
    """A Markdown table: policies down, shares across, thousandths of a nat a token that a cut
    changes.
    """
    shares = sorted({s.share for s in summaries if s.share < 1}, reverse=True)
    by = {(s.policy, s.share): s.divergence for s in summaries}
    names = sorted(
        {s.policy for s in summaries if s.share < 1},
        key=lambda name: np.mean([by[name, s] for s in shares if (name, s) in by]),
    )
    out = [
        "KL divergence of the next token's distribution from the full cache's, 0.001 nats a token:",
        "",
        f"| policy | {' | '.join(f'{share:.0%}' for share in shares)} |",
        f"|---|{'---|' * len(shares)}",
    ]
    for name in names:
        cells = [by.get((name, share)) for share in shares]
        out.append(
            f"| {name} | {' | '.join('-' if c is None else f'{1e3 * c:.1f}' for c in cells)} |"
        )
    return "\n".join([*out, ""])


def table(summaries: Sequence[Summary], *, title: str = "") -> str:
    """A Markdown table a protocol: policies down, shares across, rise of the loss in percent."""
    out = []
    for protocol in dict.fromkeys(s.protocol for s in summaries):
        mine = [s for s in summaries if s.protocol == protocol]
        shares = sorted({s.share for s in mine if s.share < 1}, reverse=True)
        by = {(s.policy, s.share): s for s in mine}
        full = next((s for s in mine if s.share >= 1), mine[0])
        out.append(
            f"### {title or protocol}: {full.n_clips} clips, {full.n_tokens} tokens, full cache"
            f" {full.nll:.3f} nats per token [{full.nll_low:.3f}, {full.nll_high:.3f}]\n"
        )
        heads = " | ".join(f"{share:.0%}" for share in shares)
        out.append(f"| policy | {heads} |\n|---|{'---|' * len(shares)}")
        order = sorted(
            {s.policy for s in mine if s.share < 1},
            key=lambda name: np.mean([by[name, s].rise for s in shares if (name, s) in by]),
        )
        for name in order:
            cells = [by.get((name, share)) for share in shares]
            texts = [
                f"{c.rise:+.1%} [{c.rise_low:+.1%}, {c.rise_high:+.1%}]" if c else "-"
                for c in cells
            ]
            out.append(f"| {name} | {' | '.join(texts)} |")
        out.append("")
    return "\n".join(out)
