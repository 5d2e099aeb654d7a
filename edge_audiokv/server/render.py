"""Finals as the answers of a transcription, in each of OpenAI's formats."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from typing import Any

from edge_audiokv.events import Final
from edge_audiokv.output.srt import SrtWriter
from edge_audiokv.output.text import one_line
from edge_audiokv.output.vtt import VttWriter

# What a segment of which nothing is borne out counts as, where a logarithm would have no end.
_LEAST_CONFIDENCE = 1e-3


def joined(finals: Sequence[Final]) -> str:
    """The whole text in one line; the deltas of a stream add up to it."""
    return " ".join(text for final in finals if (text := one_line(final.text)))


def document(finals: Sequence[Final], duration_s: float, warnings: Sequence[str]) -> dict[str, Any]:
    """`response_format=json`. `warnings` is ours, and there only if there are any."""
    usage = {"type": "duration", "seconds": round(duration_s, 3)}
    told = {"warnings": list(warnings)} if warnings else {}
    return {"text": joined(finals), "usage": usage, **told}


def verbose(
    finals: Sequence[Final],
    duration_s: float,
    warnings: Sequence[str],
    *,
    language: str,
    granularities: Sequence[str],
) -> dict[str, Any]:
    """`response_format=verbose_json`."""
    plain = document(finals, duration_s, warnings)
    made = {
        "task": "transcribe",
        "language": language,
        "duration": round(duration_s, 3),
        "text": plain.pop("text"),
    }
    if "segment" in granularities:
        worded = [final for final in finals if one_line(final.text)]
        made["segments"] = [_segment(number, final) for number, final in enumerate(worded)]
    if "word" in granularities:
        made["words"] = [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for final in finals
            for word in final.words
        ]
    return {**made, **plain}


def _segment(number: int, final: Final) -> dict[str, Any]:
    """`avg_logprob` is how far the sound bears the text out, as a logarithm. What the voice
    detector takes for silence is no segment, so none is likely to be without speech; text is
    always the likeliest, temperature 0, and its tokens are not told.
    """
    text = one_line(final.text)
    data = text.encode()
    confidence = 1.0 if final.confidence is None else final.confidence
    return {
        "id": number,
        "seek": round(final.start_s * 100),
        "start": round(final.start_s, 3),
        "end": round(final.end_s, 3),
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(confidence, _LEAST_CONFIDENCE)), 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": 0.0,
    }


def plain_text(finals: Sequence[Final]) -> str:
    return f"{joined(finals)}\n"


def subtitles(finals: Sequence[Final], kind: str) -> str:
    """SubRip or WebVTT, by the rules that `transcribe` keeps."""
    sink = io.StringIO()
    with (SrtWriter if kind == "srt" else VttWriter)(sink) as writer:
        for final in finals:
            writer.write(final)
    return sink.getvalue()
