"""`edge-audiokv eval language`: how often speech is doubted to be of the model's language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

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
from edge_audiokv.eval.words.language import measure_doubt


@click.command("language", short_help="How often the language is doubted.", cls=Command)
@manifest_option
@limit_option
@speaker_option
@json_option
@engine_options
def language_command(
    manifest: Path, limit: int | None, speakers: tuple[str, ...], as_json: bool, **values: Any
) -> None:
    """Share of recordings that `transcribe` would warn about.

    Clips in a row of one speaker are joined until the check has heard enough to judge (about eight
    seconds). Of the model's own language none should be doubted, of others all.
    scripts/synthesise_languages.py of the source tree makes clips of others.

    \b
    Examples:
      edge-audiokv eval language --manifest english/manifest.jsonl
      edge-audiokv eval language --manifest foreign/manifest.jsonl --json
    """
    from edge_audiokv.engine.runtime import Runtime

    clips = read_manifest(manifest, speakers=speakers, limit=limit)
    with Runtime(settings_from(values)) as runtime, counted(len(clips), "language") as advance:
        languages = runtime.local.entry.languages
        report = measure_doubt(clips, runtime.encoder, languages, on_clip=advance)
    spread = [score.certainty for score in report.scores] or [0.0]
    low, middle, high = np.percentile(spread, [5, 50, 95])
    lines = [
        f"{report.recordings} recordings, {report.audio_s / 60:.1f} min",
        f"warned of {report.warned} ({report.warned_share:.1%})",
        f"certainty {middle:.2f}, 5 % below {low:.2f}, 5 % above {high:.2f}",
    ]
    show(report.to_dict(), lines, as_json=as_json)
