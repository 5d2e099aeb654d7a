"""`edge-audiokv eval codes`: a spoken code hidden in minutes of speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import (
    check_recalls,
    counted,
    json_option,
    limit_option,
    manifest_option,
    recalls_option,
    seed_option,
    show,
    speaker_option,
    turns_option,
)
from edge_audiokv.cli.options import engine_options, placement_option, settings_from
from edge_audiokv.cli.values import Number
from edge_audiokv.eval.codes import (
    CodeCell,
    CodeReply,
    cells,
    count_replies,
    find_codes,
    to_dict,
)
from edge_audiokv.eval.wer import read_manifest
from edge_audiokv.output.place import check_place


@click.command("codes", short_help="A spoken code hidden in minutes of speech.", cls=Command)
@manifest_option
@speaker_option
@limit_option
@click.option(
    "--codes",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='A manifest of clips such as "the code is nine one four two".',
)
@click.option(
    "--seconds",
    "lengths_s",
    type=Number(1, 36000),
    multiple=True,
    default=(60.0, 300.0),
    show_default=True,
    help="Length of a join of clips; repeatable.",
)
@click.option(
    "--depths",
    type=click.IntRange(2, 20),
    default=5,
    show_default=True,
    help="Places in each join, evenly from its beginning to its end.",
)
@click.option(
    "--tries",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Joins for each length and place.",
)
@click.option(
    "--repeat-clips",
    "repeats",
    is_flag=True,
    help="Let clips come again in a join that is longer than all of them.",
)
@seed_option
@turns_option
@placement_option
@recalls_option
@click.option("--plot", type=click.Path(path_type=Path), help="A heat map, PNG.")
@json_option
@engine_options
def codes_command(
    manifest: Path,
    speakers: tuple[str, ...],
    limit: int | None,
    codes: Path,
    lengths_s: tuple[float, ...],
    depths: int,
    tries: int,
    repeats: bool,
    seed: int,
    turns: bool,
    placement: str,
    recalls: bool,
    plot: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """A spoken code hidden in minutes of speech, and asked for at the end; length by depth.

    Codes are asked for alone first, with a full cache: what is known there and lost later was lost
    by the memory. With --kv-budget the cache has that share of the rows that any join of this
    length could need, and evicts while it listens; a join that needs fewer may keep more. With
    --turns a join may need more positions than the model has (--placement), and what was lost may
    be brought back for the question (--recall). Where every code is of another place ("the code of
    the kitchen is ..."), a join hides one at every depth, and each is asked for.
    scripts/make_codes.py of the source tree makes the clips.

    \b
    Examples:
      edge-audiokv eval codes --manifest clips.jsonl --codes codes.jsonl --turns
      edge-audiokv eval codes --manifest clips.jsonl --codes codes.jsonl \\
        --seconds 180 --seconds 300 --kv-budget 40% --plot codes.png
    """
    if plot is not None:
        check_place(plot)
    check_recalls(recalls, turns)
    settings = settings_from(values)
    clips = read_manifest(manifest, speakers=speakers, limit=limit)
    spelled = read_manifest(codes)
    replies: list[CodeReply] = []
    total = count_replies(len(spelled), len(set(lengths_s)), depths, tries)
    with counted(total, "asked") as advance:

        def on_reply(reply: CodeReply) -> None:
            replies.append(reply)
            advance(f"{sum(r.right for r in replies)}/{len(replies)} right")

        find_codes(
            settings,
            clips,
            spelled,
            lengths_s=lengths_s,
            depths=[i / (depths - 1) for i in range(depths)],
            tries=tries,
            turns=turns,
            placement=placement,
            recalls=recalls,
            repeats=repeats,
            seed=seed,
            on_reply=on_reply,
        )
    found = cells(replies)
    more = {"model": settings.model, "policy": settings.kv_policy, "kv_share": settings.kv_share}
    more |= {"placement": placement, "recall": recalls, "repeat_clips": repeats}
    show(to_dict(replies, **more, turns=turns), codes_lines(found), as_json=as_json)
    if plot is not None:
        from edge_audiokv.eval.plots.codes import plot_codes

        plot_codes(found, plot)


def codes_lines(found: Sequence[CodeCell]) -> list[str]:
    lines = [f"{'length':>8}{'depth':>8}{'tries':>7}{'right':>8}  {'95 %':>9}"]
    for cell in found:
        length = f"{cell.seconds:g} s" if cell.seconds else "alone"
        depth = f"{cell.depth:.0%}" if cell.seconds else "-"
        interval = f"{cell.right_low:.0%}-{cell.right_high:.0%}"
        lines.append(f"{length:>8}{depth:>8}{cell.tries:>7}{cell.right:>8.0%}  {interval:>9}")
    return lines
