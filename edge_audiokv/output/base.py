"""What every result writer does: take events, write the ones it knows, never half of one."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from edge_audiokv.errors import OutputError
from edge_audiokv.events import Event, Final


class TextSink(Protocol):
    """The part of a text stream that writers use."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def output_error(name: str, error: OSError) -> OutputError:
    """The OutputError that says what to do about `error` while writing `name`."""
    cures = {
        errno.ENOSPC: "Free some space or name a file on another disk.",
        errno.EDQUOT: "Free some space or name a file on another disk.",
        errno.EACCES: "Name a file in a directory of yours.",
        errno.EPERM: "Name a file in a directory of yours.",
        errno.EROFS: "Name a file on a disk that can be written.",
        errno.ENOENT: "Make the directory first.",
        errno.ENOTDIR: "Name a file in a directory that exists.",
        errno.EISDIR: "Name a file in it.",
        errno.ENAMETOOLONG: "Give a shorter name.",
        errno.ELOOP: "Name a file that is no circle of links.",
    }
    what = f"{name} cannot be written: {error.strerror or error}."
    return OutputError(what, cure=cures.get(error.errno or 0, ""))


class Writer(ABC):
    """Writes events to a text stream, a whole record at a time, flushed.

    `write()` ignores events that the format has no place for. `close()` ends the document and may
    be called twice; it does not close the stream. Both raise OutputError. Leaving a `with` block
    through an error ends a document that has begun, and writes nothing if none has.
    """

    def __init__(self, sink: TextSink, *, name: str = "the output") -> None:
        self._sink = sink
        self._name = name
        self._begun = False
        self._closed = False
        self.end_s = 0.0
        """Seconds of sound whose text is written."""
        self.about: dict[str, str] = {}
        """Facts that formats for machines add to every record, such as the file it is of."""
        self.facts: dict[str, str | None] = {}
        """Facts of all that is written, such as the model that wrote it; for the same formats."""

    def write(self, event: Event) -> None:
        """Write `event` if this format holds such events."""
        if self._closed:
            raise OutputError(f"{self._name} is closed.")
        record = self._record(event)
        # Before it is put: who reads may answer with a signal at once.
        if isinstance(event, Final):
            self.end_s = event.end_s
        if record:
            self._begin()
            self._put(record)

    @property
    def begun(self) -> bool:
        """Something is written. Until then a file is not there, or is as it was."""
        return self._begun

    def heard(self, file: str, duration_s: float) -> None:  # noqa: B027 - most have no place for it
        """`file` has been heard to its end, or as far as it was read."""

    def close(self, *, complete: bool = True) -> None:
        """End the document; `complete` is False when the work was broken off."""
        if self._closed:
            return
        self._closed = True
        if complete:
            self._begin()
        if self._begun:
            self._put(self._tail(complete))

    @abstractmethod
    def _record(self, event: Event) -> str:
        """The text for one event; empty if it is not for this format."""

    def _head(self) -> str:
        return ""

    def _tail(self, complete: bool) -> str:
        return ""

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._put(self._head())

    def _put(self, text: str) -> None:
        try:
            self._sink.write(text)
            self._sink.flush()
        except BrokenPipeError:
            # Nobody reads any more (`| head`): no failure of ours, so the caller decides.
            self._closed = True
            raise
        except OSError as error:
            # A full disk would fail again at the end: what is there stays as it is.
            self._closed = True
            raise output_error(self._name, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(complete=kind is None)
