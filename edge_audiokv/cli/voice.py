"""What a command says beside its results, on stderr: the one place that knows -q, -v, --no-color.

    error       always
    warning     unless -q
    note        unless -q; progress likewise, through `console`
    detail      with -v, and the time since the command began
    debug       with -vv, what libraries log in detail

Results go to standard output, whatever is asked for here.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

import click

from edge_audiokv.cli.drawing import may_draw
from edge_audiokv.cli.lasting import Lasting
from edge_audiokv.cli.wording import as_flags
from edge_audiokv.events import Answer, Event, Final
from edge_audiokv.output.fold import fitted
from edge_audiokv.units import printable

if TYPE_CHECKING:
    from rich.console import Console

_KEY = "edge_audiokv.voice"
_OURS = logging.getLogger("edge_audiokv")


@dataclass(frozen=True)
class Voice:
    """`level` is -1 or less for errors alone, 0 for the usual, 1 for details, 2 for debugging."""

    level: int = 0
    color: bool = True

    @property
    def is_quiet(self) -> bool:
        return self.level < 0

    @property
    def is_verbose(self) -> bool:
        return self.level > 0


@dataclass
class _State:
    """There is one terminal, whichever thread speaks."""

    voice: Voice
    begun_s: float
    is_broken_off: bool = False


_state = _State(Voice(), time.monotonic())


class _Handler(logging.Handler):
    """What libraries log, as details."""

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name.removeprefix("edge_audiokv.")
        detail(f"{name}: {record.getMessage()}")


_handler = _Handler()


def use(voice: Voice) -> None:
    """From here on, until the next command, this is what is said. The clock of details starts."""
    _state.voice, _state.begun_s, _state.is_broken_off = voice, time.monotonic(), False
    root = logging.getLogger()
    root.removeHandler(_handler)
    _OURS.setLevel(logging.NOTSET)
    if voice.is_verbose:
        root.addHandler(_handler)
        _OURS.setLevel(logging.DEBUG if voice.level > 1 else logging.INFO)


def _say(text: str) -> None:
    """On stderr. Whether anybody can read it there decides nothing of the result."""
    stream = sys.stderr
    if stream is None:  # closed
        return
    with suppress(OSError):
        # Not by click, which looks for the file behind: bars stand in between, and make way.
        stream.write(f"{fitted(text, stream)}\n")
        stream.flush()


def tell(text: str) -> None:
    """A result for people, on standard output; on a terminal no word of it is cut."""
    click.echo(fitted(text, sys.stdout))


def current() -> Voice:
    return _state.voice


def error(text: str) -> None:
    """Something went wrong: told always."""
    _say(f"edge-audiokv: {as_flags(text)}")


def warn(text: str) -> None:
    """Something that a person should know of the result; may come from outside."""
    if not _state.voice.is_quiet:
        _say(f"warning: {as_flags(printable(text))}")


def shows(event: Event) -> bool:
    """Is an event told to who watches a session? With -q only text and answers are."""
    return not _state.voice.is_quiet or isinstance(event, (Final, Answer))


def note(text: str) -> None:
    """How things stand, or what was done."""
    if not _state.voice.is_quiet:
        _say(text)


def broken_off(rest: str = ".") -> None:
    """Tell who broke off what there is now, once: what was told first counts."""
    if _state.is_broken_off:
        return
    _state.is_broken_off = True
    note(f"broken off{rest}")


def detail(text: str) -> None:
    """A phase that is over, with the seconds since the command began."""
    if _state.voice.is_verbose:
        # Libraries log names and metadata of files, which hold anything.
        _say(f"[{time.monotonic() - _state.begun_s:6.2f} s] {printable(text)}")


def table(lines: Sequence[str]) -> None:
    """Details of several lines, such as where the bytes are."""
    if _state.voice.is_verbose:
        for line in lines:
            _say(line)


def console(stream: TextIO | None = None, *, behind: bool = False) -> Console:
    """For bars, views and tables on `stream`, by default stderr, where -q leaves nothing of them.

    NO_COLOR and TERM=dumb are rich's own to respect; --no-color comes on top. Asked for colours
    (FORCE_COLOR) a file is still no screen that could be redrawn. `is_interactive` says whether
    something may move there: see drawing.may_draw, also for `behind`.
    """
    from rich.console import Console  # not for --help

    voice, stream = _state.voice, stream or sys.stderr
    if stream is None:  # closed
        return Console(stderr=True, quiet=True)
    return Console(
        file=cast(IO[str], Lasting(stream)),
        quiet=voice.is_quiet and stream is not sys.stdout,
        no_color=None if voice.color else True,
        force_terminal=None if stream.isatty() else False,
        force_interactive=None if may_draw(stream, behind=behind) else False,
    )


def may_style() -> bool:
    """Is standard output a terminal that knows bold and colours, and does nobody mind them?"""
    if sys.stdout is None:
        return False
    shown = console(sys.stdout)
    return shown.color_system is not None and not shown.no_color


def options() -> list[click.Option]:
    """-q, -v and --no-color, anew for each command; all of a line of commands add up."""
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_take,
            help="Errors alone on stderr: no progress, notes or warnings.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_take,
            help="Say where time and bytes go, on stderr; twice for debugging.",
        ),
        click.Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            callback=_take,
            help="No colours; NO_COLOR in the environment says so, too.",
        ),
    ]


def asked(context: click.Context) -> Voice:
    """What the options of this command and of those above it ask for."""
    voice: Voice = context.meta.get(_KEY, Voice())
    return voice


def _take(context: click.Context, param: click.Parameter, value: Any) -> None:
    voice = asked(context)
    match param.name:
        case "quiet":
            voice = replace(voice, level=voice.level - bool(value))
        case "no_color":
            voice = replace(voice, color=voice.color and not value)
        case _:
            voice = replace(voice, level=voice.level + int(value))
    context.meta[_KEY] = voice
