"""`edge-audiokv eval repeats`: is what was said several times written several times?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import (
    counted,
    json_option,
    limit_option,
    manifest_option,
    show,
)
from edge_audiokv.cli.options import engine_options, settings_from
from edge_audiokv.eval.wer import hear_with, normalise

if TYPE_CHECKING:
    from edge_audiokv.eval.repeats.score import RepeatsReport


@click.command("repeats", short_help="Phrases that are said two to four times.", cls=Command)
@manifest_option
@limit_option
@json_option
@engine_options
def repeats_command(manifest: Path, limit: int | None, as_json: bool, **values: Any) -> None:
    """Share of joins in which what was said several times is written as often as it was said.

    The manifest is one of scripts/make_repeats.py. Every join goes the whole way of
    `edge-audiokv transcribe`, and so do the parts that it was made of, one by one: the rise of the
    word error rate is what repeating costs.

    \b
    Examples:
      edge-audiokv eval repeats --manifest repeats/manifest.jsonl
      edge-audiokv eval repeats --manifest repeats/manifest.jsonl --limit 20 --json
    """
    normalise("")  # a missing extra is told before anything is loaded
    from edge_audiokv.engine.transcriber import Transcriber
    from edge_audiokv.eval.repeats.score import JoinScore, evaluate, read_joins

    settings = settings_from(values)
    joins = read_joins(manifest, limit=limit)
    n_right = n_done = 0
    with Transcriber(settings) as transcriber, counted(len(joins), settings.model) as advance:

        def on_join(score: JoinScore) -> None:
            nonlocal n_right, n_done
            n_right, n_done = n_right + score.right, n_done + 1
            advance(f"{n_right} of {n_done} right")

        report = evaluate(joins, hear_with(transcriber), on_join=on_join)
    show(report.to_dict(), report_lines(report), as_json=as_json)


def report_lines(report: RepeatsReport) -> list[str]:
    """The figures for people."""
    return [
        f"{report.joins} joins, {report.right} written as often as said: {report.right_share:.1%} "
        f"[{report.right_low:.1%}, {report.right_high:.1%}]",
        *(
            f"  said {times} times: {right} of {count}"
            for times, (right, count) in report.by_times.items()
        ),
        f"WER {report.wer:.1%} [{report.wer_low:.1%}, {report.wer_high:.1%}], the parts alone "
        f"{report.alone_wer:.1%}: {100 * report.rise:+.1f} points "
        f"[{100 * report.rise_low:+.1f}, {100 * report.rise_high:+.1f}]",
        "flags: "
        + (", ".join(f"{count} {flag}" for flag, count in report.flags.items()) or "none"),
    ]
