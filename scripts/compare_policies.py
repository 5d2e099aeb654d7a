"""Compare eviction policies at equal bytes: loss of the reference text per policy and share.

Clips are joins of neighbouring utterances of a manifest. Measured points are appended to
OUTPUT/points.jsonl clip by clip, so a broken run is taken up where it stopped; OUTPUT/summary.json,
OUTPUT/table.md and OUTPUT/loss.png are written at the end (or from what is there, with
--only-report).

    python scripts/compare_policies.py --manifest dev/manifest.jsonl --seconds 30 --clips 12 -o out/
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import click

from edge_audiokv.calibrate.clips import joins
from edge_audiokv.calibrate.parts import load_parts
from edge_audiokv.calibrate.prefilled import Clip, Loss, Prefilled
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.eval.plot import plot
from edge_audiokv.eval.sweep import (
    Point,
    append_points,
    one_shot,
    read_points,
    stream,
    summarise,
    table,
)
from edge_audiokv.kv.policy import make_policy, policies
from edge_audiokv.kv.profile import load_profile

FULL = "keep-all"


@click.command(help=__doc__)
@click.option("--model", default="smollm2-audio", show_default=True)
@click.option("--manifest", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--speaker", "speakers", multiple=True, help="Only these; may be repeated.")
@click.option("--seconds", default=30.0, show_default=True, help="Length of a join; 0: utterances.")
@click.option("--clips", "n_clips", default=12, show_default=True)
@click.option("--shares", default="0.8,0.6,0.4,0.3,0.2", show_default=True)
@click.option("--policies", "names", default="all", show_default=True, help="Comma-separated.")
@click.option("--protocol", type=click.Choice(["one-shot", "stream"]), default="one-shot")
@click.option("--profile", type=click.Path(path_type=Path, exists=True), help="Head profile.")
@click.option("--label", default="", help="Suffix of the protocol's name in the table.")
@click.option("--only-report", is_flag=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(
    model: str,
    manifest: Path,
    speakers: tuple[str, ...],
    seconds: float,
    n_clips: int,
    shares: str,
    names: str,
    protocol: str,
    profile: Path | None,
    label: str,
    only_report: bool,
    output: Path,
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    points_path = output / "points.jsonl"
    if not only_report:
        chosen = list(policies()) if names == "all" else names.split(",")
        grid = [(FULL, 1.0)] + [
            (name, float(share)) for name in chosen if name != FULL for share in shares.split(",")
        ]
        measure(
            model, manifest, speakers, seconds, n_clips, grid, protocol, profile, label, points_path
        )
    report(output, points_path)


def measure(
    model: str,
    manifest: Path,
    speakers: tuple[str, ...],
    seconds: float,
    n_clips: int,
    grid: list[tuple[str, float]],
    protocol: str,
    profile: Path | None,
    label: str,
    points_path: Path,
) -> None:
    parts = load_parts(model)
    heads = None if profile is None else load_profile(profile)
    if heads is not None:
        heads.check(parts.model.shape, parts.local.model_hash)
    name = f"{protocol} {label}".strip()
    done = {(p.protocol, p.policy, p.share, p.clip) for p in read_points(points_path)}
    for clip, _ in joins(parts, manifest, seconds=seconds, limit=n_clips, speakers=speakers):
        todo = [(p, s) for p, s in grid if (name, p, s, clip.id) not in done]
        if not todo:
            continue
        started = time.monotonic()
        start = Prefilled(parts, clip) if protocol == "one-shot" else None
        points = []
        for policy_name, share in todo:
            policy = make_policy(policy_name, profile=heads)
            try:
                loss = (
                    stream(parts, clip, policy, share)
                    if start is None
                    else one_shot(start, policy, share)
                )
            except EdgeAudioKVError as error:
                click.echo(f"{clip.id} {policy_name} {share}: {error}", err=True)
                continue
            points.append(point(name, policy_name, share, clip, loss, parts.model.shape.n_head))
        if start is not None:
            start.close()
        append_points(points_path, points)
        took_s = time.monotonic() - started
        click.echo(f"{clip.id}: {clip.audio_s:.0f} s, {len(points)} points, {took_s:.0f} s")
    parts.close()


def point(name: str, policy: str, share: float, clip: Clip, loss: Loss, n_head: int) -> Point:
    return Point(
        name,
        policy,
        share,
        clip.id,
        round(clip.audio_s, 2),
        loss.nll,
        loss.n_tokens,
        loss.hits,
        loss.kept_rows,
        loss.full_rows,
        loss.pool_bytes,
    )


def report(output: Path, points_path: Path) -> None:
    summaries = summarise(read_points(points_path))
    part = output / "summary.json.part"
    part.write_text(json.dumps([asdict(s) for s in summaries], indent=1) + "\n")
    os.replace(part, output / "summary.json")
    text = table(summaries)
    (output / "table.md").write_text(text, encoding="utf-8")
    plot(summaries, output / "loss.png")
    click.echo(text)


if __name__ == "__main__":
    main()
