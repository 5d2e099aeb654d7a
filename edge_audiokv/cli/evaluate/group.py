"""`edge-audiokv eval`: measure a model on clips whose text is known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from edge_audiokv.cli.command import Group
from edge_audiokv.cli.evaluate.codes import codes_command
from edge_audiokv.cli.evaluate.common import (
    counted,
    json_option,
    limit_option,
    manifest_option,
    per_speaker_option,
    show,
    speaker_option,
)
from edge_audiokv.cli.evaluate.context import noise_command, recall_command, rolling_command
from edge_audiokv.cli.evaluate.doubt import doubt_command
from edge_audiokv.cli.evaluate.language import language_command
from edge_audiokv.cli.evaluate.probe import probe_command
from edge_audiokv.cli.evaluate.quants import quants_command
from edge_audiokv.cli.evaluate.repeats import repeats_command
from edge_audiokv.cli.evaluate.report import report_command
from edge_audiokv.cli.evaluate.words import words_command
from edge_audiokv.cli.options import engine_options, settings_from
from edge_audiokv.eval.ablation import (
    ENCODER_ALONE,
    LLM_ALONE,
    encoder_alone_with,
    without_words,
)
from edge_audiokv.eval.anchor import NAME as ANCHOR_NAME
from edge_audiokv.eval.anchor import WhisperAnchor
from edge_audiokv.eval.leaderboard import save
from edge_audiokv.eval.wer import (
    ClipScore,
    Hypothesis,
    Transcribe,
    Utterance,
    WerReport,
    hear_whole_with,
    hear_with,
    normalise,
    read_manifest,
)
from edge_audiokv.eval.wer import (
    evaluate as evaluate_clips,
)
from edge_audiokv.output.place import check_place, writing


@click.group("eval", cls=Group)
def evaluate() -> None:
    """Measure a model on recordings whose text is known.

    A manifest has one JSON object a line, with "path" (relative to the manifest), "text" and, if
    it is known, "speaker". A folder laid out as LibriSpeech, or one of Hugging Face with its
    metadata.jsonl or metadata.csv, serves as well.

    \b
    Examples:
      edge-audiokv eval wer --manifest clips/manifest.jsonl --limit 64
      edge-audiokv eval noise sounds/
    """


_COMMANDS = (
    words_command,
    language_command,
    recall_command,
    codes_command,
    doubt_command,
    rolling_command,
    noise_command,
    probe_command,
    repeats_command,
    quants_command,
    report_command,
)
for _command in _COMMANDS:
    evaluate.add_command(_command)


@evaluate.command("wer", short_help="Word error rate, with 95 % intervals.")
@manifest_option
@limit_option
@per_speaker_option
@speaker_option
@click.option(
    "--whole-clips",
    is_flag=True,
    help="Decode each clip (at most 30 s) at once, without speech detection.",
)
@click.option("--anchor", is_flag=True, help="Whisper tiny.en on the same clips, side by side.")
@click.option(
    "--ablate",
    is_flag=True,
    help="Also the encoder's own words alone, and the LLM without them; needs --whole-clips.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Write each clip's text as the Open ASR Leaderboard does, for its scorer.",
)
@json_option
@engine_options
def wer_command(
    manifest: Path,
    limit: int | None,
    per_speaker: int | None,
    speakers: tuple[str, ...],
    whole_clips: bool,
    anchor: bool,
    ablate: bool,
    results: Path | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Word error rate, normalised as Whisper's authors do, with 95 % intervals.

    Every clip goes the whole way of `edge-audiokv transcribe`: file, speech detection, encoder,
    LLM, loop guard. "loop cut" is the rate after a stricter guard, which ends a text at the first
    four words that it repeats.

    \b
    Examples:
      edge-audiokv eval wer --manifest clips.jsonl
      edge-audiokv eval wer --manifest clips.jsonl --limit 64 --kv-budget 40%
      edge-audiokv eval wer --manifest clips.jsonl --anchor
    """
    if ablate and not whole_clips:
        raise click.UsageError("--ablate compares whole clips: add --whole-clips.")
    from edge_audiokv.audio.endpoint import EndpointConfig
    from edge_audiokv.engine.transcriber import Transcriber

    settings = settings_from(values)
    clips = read_manifest(manifest, speakers=speakers, per_speaker=per_speaker, limit=limit)
    normalise("")  # a missing extra is told before anything is loaded
    if results is not None:
        check_place(results)
    heard: dict[Path, str] = {}
    reports = []
    with ExitStack() as stack:
        # Both are loaded first, so that a missing anchor costs no evaluation.
        whisper = None
        if anchor:
            whisper = stack.enter_context(WhisperAnchor(threads=settings.n_threads))
        # Without speech detection the longest clip is one segment.
        endpoint = EndpointConfig(max_segment_s=30.0) if whole_clips else EndpointConfig()
        with Transcriber(settings, endpoint=endpoint) as transcriber:
            alone = encoder_alone_with(transcriber) if ablate else None
            hear = hear_whole_with(transcriber) if whole_clips else hear_with(transcriber)

            def noted(path: Path) -> Hypothesis:
                hypothesis = hear(path)
                heard[path] = hypothesis.text
                return hypothesis

            reports.append(_measure(settings.model, clips, noted))
            if alone is not None:
                reports.append(_measure(ENCODER_ALONE, clips, alone))
        if ablate:
            with Transcriber(without_words(settings), endpoint=endpoint) as transcriber:
                reports.append(_measure(LLM_ALONE, clips, hear_whole_with(transcriber)))
        if whisper is not None:
            reports.append(_measure(ANCHOR_NAME, clips, whisper))
    if results is not None:
        with writing(results):
            save(results, clips, reports[0].scores, heard)
    show([report.to_dict() for report in reports], report_lines(reports), as_json=as_json)


# With it a line fits the usual 80 columns.
_NAME_CELLS = 16


def report_lines(reports: Sequence[WerReport]) -> list[str]:
    """The reports side by side, one a line."""
    first = reports[0]
    lines = [
        f"{first.clips} clips, {first.audio_s / 60:.1f} min, {first.words} words",
        f"{'':<{_NAME_CELLS}}{'WER':>7} {'95 %':>13} {'loop cut':>8} {'sub':>5} {'del':>5}"
        f" {'ins':>5} {'guarded':>7} {'RTF':>6}",
    ]
    for report in reports:
        name = report.name
        if len(name) >= _NAME_CELLS:  # as of a folder
            lines.append(name)
            name = ""
        interval = f"{report.wer_low:.1%}-{report.wer_high:.1%}"
        lines.append(
            f"{name:<{_NAME_CELLS}}{report.wer:>7.1%} {interval:>13} {report.wer_loop_cut:>8.1%}"
            f" {report.substitutions:>5} {report.deletions:>5} {report.insertions:>5}"
            f" {report.guarded_clips:>7} {report.realtime_factor:>6.3f}"
        )
    if len(first.by_speaker) > 1:
        for speaker in first.by_speaker:
            rates = "  ".join(
                f"{report.name} {report.by_speaker[speaker]:.1%}" for report in reports
            )
            lines.append(f"  {speaker or '(no name)'}: {rates}")
    return lines


def _measure(name: str, clips: Sequence[Utterance], transcribe: Transcribe) -> WerReport:
    edits = words = 0
    with counted(len(clips), name) as advance:

        def on_clip(score: ClipScore) -> None:
            nonlocal edits, words
            edits, words = edits + score.edits, words + score.words
            advance(f"{name} {edits / max(1, words):.1%}")

        return evaluate_clips(name, clips, transcribe, on_clip=on_clip)
