"""One JSON document with the segments, the answers and the whole text.

    {"segments": [{"id", "start_s", "end_s", "text", "flags"}, ...],
     "answers": [{"question", "text", "time_s"}, ...], "text": "...",
     "file": "talk.flac", "files": [{"file", "duration_s"}, ...], "duration_s": 3.7,
     "model": "smollm2-audio", "quantisation": "q8_0", "language": "en", "complete": true}

"file" is there if one was heard; "duration_s" of the document is the sum. What nobody knows, such
as the language of a model of many, is null.

Segments that were asked for words have "words" ({"text", "start_s", "end_s", "confidence"}) and a
"confidence" too.

Segments are written as they come, each when it is known whether a comma follows, so that what is
written are whole lines: where the document stands on a terminal a bar may be drawn below it. The
rest, which stands after them, waits in a spool that goes to disk past a megabyte, so that hours of
speech do not gather in memory.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator

from edge_audiokv.events import Answer, Event, Final
from edge_audiokv.output.base import TextSink, Writer
from edge_audiokv.output.text import one_line

_SPOOL_BYTES = 1 << 20
_PIECE = 1 << 16


class _Spool:
    """Text kept for later, in memory while it is short."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by close()
            max_size=_SPOOL_BYTES, mode="w+", encoding="utf-8"
        )
        self.empty = True

    def add(self, text: str) -> None:
        self._file.write(text)
        self.empty = False

    def pieces(self) -> Iterator[str]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        self._file.close()


class JsonWriter(Writer):
    """A document that is valid even when the work was broken off: then `complete` is false."""

    def __init__(self, sink: TextSink, *, name: str = "the output") -> None:
        super().__init__(sink, name=name)
        # What stands last; without its line break while nobody knows what follows.
        self._last = '{"segments": ['
        self._segments = 0
        self._text = _Spool()
        self._answers = _Spool()
        self._files: list[dict[str, str | float]] = []

    def _record(self, event: Event) -> str:
        if isinstance(event, Final):
            item = {**event.to_dict(), **self.about}
            del item["type"]
            text = one_line(event.text)
            if text:
                # Escaped now, joined later: a JSON string may be cut between any two lines.
                space = "" if self._text.empty else " "
                self._text.add(json.dumps(space + text, ensure_ascii=False)[1:-1])
            comma = "," if self._segments else ""
            line = f"{self._last}{comma}\n"
            self._last = f"  {json.dumps(item, ensure_ascii=False)}"
            self._segments += 1
            return line
        if isinstance(event, Answer):
            item = event.to_dict()
            del item["type"]
            comma = "" if self._answers.empty else ","
            self._answers.add(f"{comma}\n  {json.dumps(item, ensure_ascii=False)}")
            self._begin()
        return ""

    def _tail(self, complete: bool) -> str:
        self._put(self._last)
        self._put('\n],\n"answers": [' if self._segments else '],\n"answers": [')
        for piece in self._answers.pieces():
            self._put(piece)
        self._put('],\n"text": "' if self._answers.empty else '\n],\n"text": "')
        for piece in self._text.pieces():
            self._put(piece)
        about = {**self._heard(), **self.facts, "complete": complete}
        members = ",\n".join(
            f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
            for name, value in about.items()
        )
        return f'",\n{members}}}\n'

    def heard(self, file: str, duration_s: float) -> None:
        self._files.append({"file": file, "duration_s": round(duration_s, 3)})

    def _heard(self) -> dict[str, object]:
        if not self._files:
            return {}
        total_s = sum(float(item["duration_s"]) for item in self._files)
        told: dict[str, object] = {"files": self._files, "duration_s": round(total_s, 3)}
        return {"file": self._files[0]["file"], **told} if len(self._files) == 1 else told

    def close(self, *, complete: bool = True) -> None:
        try:
            super().close(complete=complete)
        finally:
            self._text.close()
            self._answers.close()
