"""`edge-audiokv eval words`: word times against Whisper's cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import (
    counted,
    json_option,
    limit_option,
    manifest_option,
    show,
    speaker_option,
)
from edge_audiokv.cli.options import engine_options, settings_from
from edge_audiokv.eval.wer import read_manifest
from edge_audiokv.eval.words.reference import CrossAttention
from edge_audiokv.eval.words.times import BOUND_S, Errors, TimesReport, measure
from edge_audiokv.events import Word


@click.command("words", short_help="Word times against Whisper's cross-attention.", cls=Command)
@manifest_option
@limit_option
@speaker_option
@json_option
@engine_options
def words_command(
    manifest: Path, limit: int | None, speakers: tuple[str, ...], as_json: bool, **values: Any
) -> None:
    """Word times against a forced alignment of the known text by Whisper tiny.en.

    Every clip (of at most 30 s) goes the whole way of `edge-audiokv transcribe --word-timestamps`.
    Words that are right are compared, starts and ends, with Whisper's spans: "raw" as they are,
    where a pause belongs to the word after it, and without silence at their ends.

    \b
    Examples:
      edge-audiokv eval words --manifest clips/manifest.jsonl
      edge-audiokv eval words --manifest clips/manifest.jsonl --limit 64 --json
    """
    from edge_audiokv.engine.transcriber import Transcriber

    settings = replace(settings_from(values), word_timestamps=True)
    clips = read_manifest(manifest, speakers=speakers, limit=limit)
    with ExitStack() as stack:
        whisper = stack.enter_context(CrossAttention(threads=settings.n_threads))
        transcriber = stack.enter_context(Transcriber(settings))

        def hear(path: Path) -> list[Word]:
            return [word for final in transcriber.transcribe(path) for word in final.words]

        with counted(len(clips), "words") as advance:
            report = measure(clips, hear, whisper, on_clip=advance)
    show(report.to_dict(), report_lines(report), as_json=as_json)


def report_lines(report: TimesReport) -> Sequence[str]:
    """The report for people."""
    lines = [
        f"{report.clips} clips, {report.audio_s / 60:.1f} min, {report.words} words,"
        f" {report.starts.n} right and compared",
        f"{'':<12}{'bias':>8}{'median':>9}{'95 %':>9}{f'in {BOUND_S * 1000:.0f} ms':>12}",
    ]
    named: dict[str, Errors] = {
        "starts": report.starts,
        "ends": report.ends,
        "both": report.both,
        "raw starts": report.raw_starts,
        "raw ends": report.raw_ends,
    }
    for name, errors in named.items():
        lines.append(
            f"{name:<12}{errors.bias_s * 1000:>5.0f} ms{errors.median_s * 1000:>6.0f} ms"
            f"{errors.p95_s * 1000:>6.0f} ms{errors.within_share:>12.1%}"
        )
    return lines
