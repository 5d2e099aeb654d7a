"""From what a person names on the command line to a source of sound."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.files.pcm import PcmSource, is_pollable
from edge_audiokv.audio.files.piped import LivePipe, is_regular
from edge_audiokv.audio.live.pacing import Paced
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.errors import InputError

_COPY_BYTES = 1 << 20
# On disk, for as long as a file that is piped into `transcribe` is read.
_MAX_SPOOL_BYTES = 8 << 30


class PipedFileSource(FileSource):
    """A sound file that comes through a pipe: kept on disk while it is read, for decoders seek."""

    cure = f"Say what raw sound holds, such as --raw s16le:16000. {FileSource.cure}"

    def __init__(self, stream: BinaryIO, *, name: str = "standard input") -> None:
        super().__init__(stream, name=name)
        self._pipe = stream
        self._spool: BinaryIO | None = None

    def open(self) -> None:
        if self._spool is not None:
            return
        if is_regular(self._pipe):
            super().open()  # `< FILE`: it can be read where it is
            return
        self._spool = spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            while data := self._pipe.read(_COPY_BYTES):
                if spool.tell() + len(data) > _MAX_SPOOL_BYTES:
                    raise InputError(
                        f"{self.name} is longer than {_MAX_SPOOL_BYTES >> 30} GB.",
                        cure="Keep it in a file and name that, or use listen -.",
                    )
                spool.write(data)
        except OSError as error:
            self.close()
            raise InputError(f"{self.name} cannot be kept on disk: {error.strerror}.") from None
        except BaseException:
            self.close()
            raise
        if spool.tell() == 0:
            self.close()
            raise InputError(f"{self.name} is empty (0 bytes).", cure="Pipe a sound file in.")
        spool.seek(0)
        self._file = spool
        super().open()

    def close(self) -> None:
        super().close()
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def make_source(
    name: str | os.PathLike[str],
    *,
    raw: str | None = None,
    realtime: bool = False,
    live: bool = False,
    stdin: BinaryIO | None = None,
) -> AudioSource:
    """The source for a path, or for standard input if `name` is "-".

    `raw` (`s16le:16000[:2]`) says that the bytes have no header; `realtime` paces a file; `live`
    hears a sound file on standard input while it comes, instead of when it is whole.
    Raises InputError if `raw` makes no sense, or standard input is a terminal; the file itself is
    looked at by `open()`.
    """
    source: AudioSource
    if os.fspath(name) == "-":
        if stdin is None and sys.stdin is None:
            raise InputError("Standard input is closed.", cure="Pipe sound in, or name a file.")
        stream = stdin or sys.stdin.buffer
        if stream.isatty():
            raise InputError(
                "Standard input is a terminal, from which no sound comes.",
                cure="Pipe sound in, as in `- < talk.flac`, or name a file.",
            )
        if raw is not None:
            source = PcmSource(stream, raw, name="standard input")
        elif live and is_pollable(stream):
            source = LivePipe(stream)
        else:
            source = PipedFileSource(stream)
    elif raw is not None:
        source = PcmSource(Path(name), raw, name=str(name))
    else:
        source = FileSource(name)
    return Paced(source) if realtime else source
