"""Subtitle files as players read them: three parsers, and the usual rules recounted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from edge_audiokv.errors import MissingExtraError
from edge_audiokv.output.cues import Cue, CueRules


def parse_with_srt(path: Path) -> list[Cue]:
    """The `srt` package, which refuses what is not SRT. Only for .srt."""
    cues = _package("srt").parse(path.read_text(encoding="utf-8"), ignore_errors=False)
    return [
        Cue(
            round(cue.start.total_seconds() * 1000),
            round(cue.end.total_seconds() * 1000),
            tuple(cue.content.split("\n")),
        )
        for cue in cues
    ]


def parse_with_pysubs2(path: Path) -> list[Cue]:
    """The `pysubs2` package."""
    cues = _package("pysubs2").load(str(path), encoding="utf-8")
    return [Cue(cue.start, cue.end, tuple(cue.plaintext.split("\n"))) for cue in cues]


def parse_with_webvtt(path: Path) -> list[Cue]:
    """The `webvtt-py` package."""
    webvtt = _package("webvtt")
    cues = webvtt.from_srt(str(path)) if path.suffix == ".srt" else webvtt.read(str(path))
    return [
        Cue(_ms(cue.start_time.to_tuple()), _ms(cue.end_time.to_tuple()), tuple(cue.lines))
        for cue in cues
    ]


PARSERS: dict[str, Callable[[Path], list[Cue]]] = {
    "srt": parse_with_srt,
    "pysubs2": parse_with_pysubs2,
    "webvtt-py": parse_with_webvtt,
}


@dataclass(frozen=True)
class CueReport:
    """The worst of a file's cues: a rule holds if its worst cue keeps it."""

    cues: int
    line_chars: int
    lines: int
    longest_s: float
    shortest_s: float
    chars_per_s: float
    overlaps: int

    def faults(self, rules: CueRules) -> list[str]:
        """The rules that are broken."""
        broken = {
            f"a line of {self.line_chars} characters": self.line_chars > rules.max_line_chars,
            f"{self.lines} lines": self.lines > rules.max_lines,
            f"{self.longest_s:.3f} s": self.longest_s > rules.max_cue_s,
            f"only {self.shortest_s:.3f} s": self.shortest_s < rules.min_cue_s,
            f"{self.chars_per_s:.1f} characters a second": self.chars_per_s
            > rules.most_chars_per_s + 1e-6,
            f"{self.overlaps} overlaps": self.overlaps > 0,
        }
        return [fault for fault, is_there in broken.items() if self.cues and is_there]


def report_cues(cues: Sequence[Cue]) -> CueReport:
    """Counted from what a viewer sees; a line break counts as a space."""
    lengths_s = [(cue.end_ms - cue.start_ms) / 1000 for cue in cues] or [0.0]
    return CueReport(
        cues=len(cues),
        line_chars=max((len(line) for cue in cues for line in cue.lines), default=0),
        lines=max((len(cue.lines) for cue in cues), default=0),
        longest_s=max(lengths_s),
        shortest_s=min(lengths_s),
        chars_per_s=max(
            (len(" ".join(c.lines)) / max(s, 1e-3) for c, s in zip(cues, lengths_s, strict=False)),
            default=0.0,
        ),
        overlaps=sum(a.end_ms > b.start_ms for a, b in pairwise(cues)),
    )


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"Reading subtitles needs {name}.", cure="Run `pip install srt pysubs2 webvtt-py`."
        ) from None


def _ms(clock: tuple[int, int, int, int]) -> int:
    hours, minutes, seconds, ms = clock
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
