"""Where results go: standard output or a file, in one of the formats."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from edge_audiokv.errors import OutputError
from edge_audiokv.files import growing, open_private
from edge_audiokv.output.base import TextSink, Writer, output_error
from edge_audiokv.output.fold import Folded
from edge_audiokv.output.json import JsonWriter
from edge_audiokv.output.jsonl import JsonlWriter
from edge_audiokv.output.place import check_place
from edge_audiokv.output.srt import SrtWriter
from edge_audiokv.output.text import TextWriter
from edge_audiokv.output.vtt import VttWriter

FORMATS: dict[str, Callable[..., Writer]] = {
    "text": TextWriter,
    "json": JsonWriter,
    "jsonl": JsonlWriter,
    "srt": SrtWriter,
    "vtt": VttWriter,
}
# Made of cues; their writers take `rules`.
SUBTITLES = frozenset({"srt", "vtt"})
# A document is worth nothing until its last bracket; the others can be read while they grow.
_WHOLE_DOCUMENTS = frozenset({"json"})
# What leads there by its number would miss it: see noise.py.
_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class _Abandoned(Exception):
    """Tells a growing file that it will not be finished."""


class ResultFile:
    """A text file that is touched only when there is something to write.

    With `whole` it grows under another name and takes its own with `commit()`. A new file is its
    owner's alone: it holds what was said.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self.path = path
        # A link stays a link; a device or a pipe is no name that a file could take.
        self._target = Path(os.path.realpath(path))
        whole = whole and (os.path.isfile(self._target) or not os.path.exists(self._target))
        self._growing: AbstractContextManager[Path] | None = None
        if whole:
            self._growing = growing(self._target, private=True)
        self._file: TextIO | None = None
        self._whole_bytes = 0

    def check(self) -> None:
        """OutputError now rather than after an hour, if the file cannot be made."""
        check_place(self.path)

    def write(self, text: str, /) -> None:
        if self._file is None:
            if self._growing is not None:
                handle = os.open(self._growing.__enter__(), os.O_WRONLY)
            else:
                handle = open_private(self.path)
            self._file = os.fdopen(handle, "w", encoding="utf-8", newline="\n")
        self._file.write(text)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()
            self._whole_bytes = os.fstat(self._file.fileno()).st_size

    def commit(self) -> None:
        """All is written: close, and give the file its name."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if self._growing is not None:
                self._growing.__exit__(None, None, None)

    def abandon(self) -> None:
        """Writing failed: remove what has no name yet, keep the lines that have."""
        if self._file is not None:
            with suppress(OSError):  # the failure that brought us here has been told
                self._file.close()
            self._file = None
            if self._growing is not None:
                with suppress(_Abandoned):
                    self._growing.__exit__(_Abandoned, _Abandoned(), None)
            elif self._target.is_file():
                # A disk that fills up takes part of the last record: keep whole ones.
                with suppress(OSError):
                    os.truncate(self._target, self._whole_bytes)


def keep_apart(target: str | os.PathLike[str], sources: Iterable[str]) -> None:
    """OutputError if writing `target` would overwrite one of the files that are to be read."""
    for source in sources:
        with suppress(OSError, ValueError):  # one of the two does not exist, or is "-"
            if os.path.samefile(target, source):
                raise OutputError(
                    f"{target} is what is to be read; writing it would destroy it.",
                    cure="Give the result another name.",
                )


@contextmanager
def open_output(
    path: str | os.PathLike[str], format: str, *, whole: bool = False, **options: object
) -> Iterator[Writer]:
    """A Writer to `path`, or to standard output for "-", ended when the block is left.

    `options` go to the format's writer (`timestamps` for text, `everything` for jsonl, `rules`
    for srt and vtt). With `whole` a file of any format takes its name only when it is done, as a
    document does; otherwise lines can be read while they come.
    Raises OutputError for an unknown format and for whatever keeps the file from being written.
    """
    if format not in FORMATS:
        raise OutputError(
            f"There is no output format {format!r}.", cure=f"Use one of: {', '.join(FORMATS)}."
        )
    if os.fspath(path) in _STANDARD_OUTPUT:
        if sys.stdout is None:
            raise OutputError("Standard output is closed.", cure="Name a file with -o.")
        # People read text there; the other formats are for machines, wherever they go.
        folds = format == "text" and sys.stdout.isatty()
        sink: TextSink = Folded(sys.stdout) if folds else sys.stdout
        with _make(format, sink, "standard output", options) as writer:
            yield writer
        return
    file = ResultFile(Path(path), whole=whole or format in _WHOLE_DOCUMENTS)
    file.check()
    try:
        with _make(format, file, str(path), options) as writer:
            yield writer
    except OutputError:
        file.abandon()
        raise
    except BaseException:
        _commit(file, str(path))
        raise
    _commit(file, str(path))


def _make(format: str, sink: TextSink, name: str, options: dict[str, object]) -> Writer:
    return FORMATS[format](sink, name=name, **options)


def _commit(file: ResultFile, name: str) -> None:
    try:
        file.commit()
    except OSError as error:
        file.abandon()
        raise output_error(name, error) from None
