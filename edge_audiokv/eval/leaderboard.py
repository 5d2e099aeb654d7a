"""Results as the Open ASR Leaderboard writes them, so that its scorer reads ours unchanged.

A line of JSON a clip: audio_filepath, duration and time in seconds, text as the corpus has it and
pred_text as it was heard. Both texts are left raw: normalising is the scorer's work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_audiokv.eval.wer import ClipScore, Utterance
from edge_audiokv.files import write_whole


def save(
    path: Path, clips: Sequence[Utterance], scores: Sequence[ClipScore], heard: Mapping[Path, str]
) -> None:
    """Write `path`, whole or not at all; `heard` is the raw text of each clip. Raises OSError."""
    lines = [
        {
            "audio_filepath": str(clip.path),
            "duration": score.audio_s,
            "time": score.compute_s,
            "text": clip.text,
            "pred_text": heard[clip.path],
        }
        for clip, score in zip(clips, scores, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_whole(path, text)
