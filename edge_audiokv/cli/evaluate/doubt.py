"""`edge-audiokv eval doubt`: is what was not said admitted?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import (
    counted,
    json_option,
    limit_option,
    manifest_option,
    seed_option,
    show,
    speaker_option,
)
from edge_audiokv.cli.options import engine_options, placement_option, settings_from
from edge_audiokv.cli.values import Number
from edge_audiokv.eval.doubt import (
    Doubt,
    Doubts,
    doubt_joins,
    doubt_known,
    read_known,
    summarise,
    to_dict,
)
from edge_audiokv.eval.wer import read_manifest

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("doubt", short_help="Is what was not said admitted?", cls=Command)
@manifest_option
@speaker_option
@limit_option
@click.option("--codes", type=_FILE, required=True, help="A manifest of spoken codes.")
@click.option(
    "--known",
    type=_FILE,
    help='JSON lines with "question", "accept" and "utterances", ids of clips.',
)
@click.option(
    "--seconds",
    type=Number(1, 3600),
    default=60.0,
    show_default=True,
    help="Length of a join of clips.",
)
@click.option(
    "--joins", type=click.IntRange(min=1), default=20, show_default=True, help="How many."
)
@click.option(
    "--questions",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Sentences asked for by a word that was said, and by one that was not, about each join.",
)
@seed_option
@placement_option
@json_option
@engine_options
def doubt_command(
    manifest: Path,
    speakers: tuple[str, ...],
    limit: int | None,
    codes: Path,
    known: Path | None,
    seconds: float,
    joins: int,
    questions: int,
    seed: int,
    placement: str,
    as_json: bool,
    **values: Any,
) -> None:
    """Is what was not said admitted, and what was said answered?

    Joins are heard as a session's turns, with recall, and asked about what was said in them and
    about what was not. "refused" is the share of the first that was declined, "answered" that of
    the second that was not.

    \b
    Examples:
      edge-audiokv eval doubt --manifest clips.jsonl --codes codes.jsonl
      edge-audiokv eval doubt --manifest clips.jsonl --codes codes.jsonl \\
        --known questions.jsonl --json
    """
    from edge_audiokv.eval.long_context import Conversation, tokens_of_turns

    settings = settings_from(values)
    clips = read_manifest(manifest, speakers=speakers, limit=limit)
    spelled, facts = read_manifest(codes), read_known(known) if known is not None else []
    every = read_manifest(manifest) if facts else []
    found: list[Doubt] = []
    total = joins * (1 + 2 * questions) + 2 * len(facts)
    context = Conversation(settings, tokens_of_turns(seconds), placement, recalls=True)
    with context, counted(total, "asked") as advance:

        def on_doubt(doubt: Doubt) -> None:
            found.append(doubt)
            advance(f"{sum(d.declined != d.said for d in found)}/{len(found)} as it should be")

        doubt_joins(
            context,
            clips,
            spelled,
            seconds=seconds,
            joins=joins,
            questions=questions,
            seed=seed,
            on_doubt=on_doubt,
        )
        doubt_known(context, every, facts, seed=seed, on_doubt=on_doubt)
    more = {"model": settings.model, "seconds": seconds, "kv_share": settings.kv_share}
    show(to_dict(found, **more), doubt_lines(summarise(found)), as_json=as_json)


def doubt_lines(rows: Sequence[Doubts]) -> list[str]:
    lines = [f"{'kind':<10}{'said':>6}{'refused':>9}{'95 %':>10}{'right':>7}"]
    lines[0] += f"{'unsaid':>8}{'answered':>10}{'95 %':>10}"
    for row in rows:
        refused = f"{row.refused_low:.0%}-{row.refused_high:.0%}"
        answered = f"{row.answered_low:.0%}-{row.answered_high:.0%}"
        lines.append(
            f"{row.kind:<10}{row.said:>6}{row.refused:>9.0%}{refused:>10}{row.right:>7.0%}"
            f"{row.unsaid:>8}{row.answered:>10.0%}{answered:>10}"
        )
    return lines
