"""`edge-audiokv eval recall | rolling | noise`: what context and silence do to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
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
from edge_audiokv.errors import InputError
from edge_audiokv.eval.noise import hear_noise
from edge_audiokv.eval.recall import Reply, Score, summarise, to_dict
from edge_audiokv.eval.rolling import Comparison
from edge_audiokv.eval.tasks import KINDS
from edge_audiokv.eval.wer import ClipScore, read_manifest


@click.command(
    "recall", short_help="Questions about minutes of sound, asked after it.", cls=Command
)
@manifest_option
@speaker_option
@limit_option
@click.option(
    "--seconds",
    type=Number(1, 600, max_open=True),
    default=300.0,
    show_default=True,
    help="Length of a join of clips.",
)
@click.option(
    "--joins",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    help="How many.",
)
@click.option(
    "--questions",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Of each kind about each join; there is only one first and one last sentence.",
)
@click.option(
    "--kinds",
    default=",".join(KINDS[1:-1]),
    show_default=True,
    help=f"Comma-separated, of {', '.join(KINDS[1:])}.",
)
@seed_option
@turns_option
@recalls_option
@placement_option
@json_option
@engine_options
def recall_command(
    manifest: Path,
    speakers: tuple[str, ...],
    limit: int | None,
    seconds: float,
    joins: int,
    questions: int,
    kinds: str,
    seed: int,
    turns: bool,
    recalls: bool,
    placement: str,
    as_json: bool,
    **values: Any,
) -> None:
    """Questions about minutes of sound, asked after it, with exact answers.

    Every question is asked twice: about the sound, and about noise in its place. With --kv-budget
    the cache has from the start that share of the rows that any join of this length could need, and
    evicts while it listens; a join that needs fewer may keep more. A sentence is right if at least
    half of its words are, and found if those answered point at no other one.

    \b
    Examples:
      edge-audiokv eval recall --manifest clips.jsonl --seconds 300 --turns
      edge-audiokv eval recall --manifest clips.jsonl --kinds first,mentioned --json
      edge-audiokv eval recall --manifest clips.jsonl --kv-policy snapkv \\
        --kv-budget 40%
    """
    from edge_audiokv.eval.long_context import context_for
    from edge_audiokv.eval.recall import recall

    wanted = kinds.split(",")
    unknown = [kind for kind in wanted if kind not in KINDS[1:]]
    if unknown:
        raise InputError(
            f"There is no task named {unknown[0]!r}.", cure=f"Choose of {', '.join(KINDS[1:])}."
        )
    check_recalls(recalls, turns)
    settings = settings_from(values)
    clips = read_manifest(manifest, speakers=speakers, limit=limit)
    replies: list[Reply] = []
    n_questions = joins * sum(1 if kind in ("first", "last") else questions for kind in wanted)
    context = context_for(settings, seconds, turns=turns, placement=placement, recalls=recalls)
    with context, counted(n_questions, "asked") as advance:

        def on_reply(reply: Reply) -> None:
            replies.append(reply)
            advance(f"{sum(r.right for r in replies)}/{len(replies)} right")

        recall(
            context,
            clips,
            seconds=seconds,
            joins=joins,
            kinds=wanted,
            questions=questions,
            seed=seed,
            on_reply=on_reply,
        )
    more = {"model": settings.model, "seconds": seconds, "policy": settings.kv_policy}
    more |= {"turns": turns, "placement": placement, "recall": recalls}
    document = to_dict(replies, **more, kv_share=settings.kv_share)
    show(document, recall_lines(summarise(replies)), as_json=as_json)


def recall_lines(scores: Sequence[Score]) -> list[str]:
    lines = [
        f"{'task':<11}{'tries':>6}{'right':>8}  {'95 %':>13}{'noise':>8}  {'95 %':>13}  chance"
        f"{'found':>8}  {'95 %':>13}{'noise':>8}  chance"
    ]
    for score in scores:
        interval = f"{score.right_low:.0%}-{score.right_high:.0%}"
        deaf = f"{score.deaf_low:.0%}-{score.deaf_high:.0%}"
        chance = "-" if score.chance is None else f"{score.chance:.0%}"
        lines.append(
            f"{score.kind:<11}{score.tries:>6}{score.right:>8.1%}  {interval:>13}"
            f"{score.deaf:>8.1%}  {deaf:>13}  {chance:>6}" + _found_columns(score)
        )
    return lines


def _found_columns(score: Score) -> str:
    if score.found is None or score.found_low is None or score.found_high is None:
        return ""
    interval = f"{score.found_low:.0%}-{score.found_high:.0%}"
    return (
        f"{score.found:>8.1%}  {interval:>13}{score.found_deaf or 0:>8.1%}"
        f"  {1 / max(1.0, score.segments):>6.0%}"
    )


@click.command(
    "rolling", short_help="Word error rate with minutes of earlier turns in view.", cls=Command
)
@manifest_option
@speaker_option
@limit_option
@click.option(
    "--context-s",
    type=Number(0, 86400),
    default=300.0,
    show_default=True,
    help="Sound heard before scoring.",
)
@json_option
@engine_options
def rolling_command(
    manifest: Path,
    speakers: tuple[str, ...],
    limit: int | None,
    context_s: float,
    as_json: bool,
    **values: Any,
) -> None:
    """Word error rate with minutes of earlier turns in view, beside fresh context.

    Clips are heard in order, as `listen --context rolling` hears them; those after the first
    --context-s of sound are scored both ways.

    \b
    Examples:
      edge-audiokv eval rolling --manifest clips.jsonl --speaker libri_27
      edge-audiokv eval rolling --manifest clips.jsonl --context-s 120 --json
    """
    from edge_audiokv.eval.rolling import compare

    settings = settings_from(values)
    clips = read_manifest(manifest, speakers=speakers, limit=limit)
    edits = [0, 0, 1]
    with counted(len(clips), "heard") as advance:

        def on_clip(fresh: ClipScore, rolled: ClipScore) -> None:
            edits[0] += fresh.edits
            edits[1] += rolled.edits
            edits[2] += fresh.words
            advance(f"fresh {edits[0] / edits[2]:.1%}, rolling {edits[1] / edits[2]:.1%}")

        found = compare(settings, clips, context_s=context_s, on_clip=on_clip)
    if not found.fresh.clips:
        raise InputError(
            f"The clips last less than {context_s:g} s.", cure="Lower --context-s or use more."
        )
    show(asdict(found), rolling_lines(found), as_json=as_json)


def rolling_lines(found: Comparison) -> list[str]:
    fresh, rolled = found.fresh, found.rolling
    lines = [f"{fresh.clips} clips, {fresh.words} words, after {found.context_s:g} s of context"]
    for report in (fresh, rolled):
        lines.append(
            f"{report.name:<9} WER {report.wer:.1%} [{report.wer_low:.1%}, {report.wer_high:.1%}],"
            f" cut by the guard: {report.guarded_clips}"
        )
    rise = [f"{100 * value:+.1f}" for value in (found.rise, found.rise_low, found.rise_high)]
    lines.append(f"rolling less fresh: {rise[0]} points [{rise[1]}, {rise[2]}]")
    return lines


@click.command("noise", short_help="Words made up where nobody speaks.", cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@limit_option
@json_option
@engine_options
def noise_command(paths: tuple[Path, ...], limit: int | None, as_json: bool, **values: Any) -> None:
    """Words made up out of sounds in which nobody speaks, without speech detection.

    PATHS are sound files, or folders of them.

    \b
    Examples:
      edge-audiokv eval noise esc10/audio
      edge-audiokv eval noise rain.flac dog.ogg --json
    """
    settings = settings_from(values)
    files = sound_files(paths)[:limit]
    with counted(len(files), "heard") as advance:
        report = hear_noise(settings, files, on_clip=lambda text: advance(text[:30]))
    line = (
        f"words in {report.with_words} of {report.clips} clips: {report.share:.1%} "
        f"[{report.low:.1%}, {report.high:.1%}]; loops or runaway text in {report.guarded}"
    )
    show(asdict(report), [line], as_json=as_json)


def sound_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and the sound files of folders in order. Raises InputError if none."""
    kinds = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
    found = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if not path.is_dir() or file.suffix.lower() in kinds
    ]
    if not found:
        raise InputError("There are no sound files.", cure="Name files or a folder of them.")
    return found
