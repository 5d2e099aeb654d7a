"""`edge-audiokv archive`: list, search, show, export, forget and salvage what was said."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from edge_audiokv.archive.salvage import salvage
from edge_audiokv.archive.search import MARK
from edge_audiokv.archive.store import Archive
from edge_audiokv.archive.turn import StoredSession, Turn
from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Group
from edge_audiokv.cli.results import check_unwritten, format_of
from edge_audiokv.errors import ArchiveError
from edge_audiokv.events import Final
from edge_audiokv.output import FORMATS, open_output
from edge_audiokv.units import format_bytes, format_clock, printable

_CLOCK = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,2}):)?(\d{1,6}(?:\.\d{1,3})?)")


class Clock(click.ParamType[float]):
    """A time in a session: 75, 1:15 or 00:01:15.5, as seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = _CLOCK.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is no time; write 75, 1:15 or 00:01:15.", param, ctx)
        hours, minutes, seconds = match.groups()
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


_file = click.argument(
    "file", metavar="FILE", type=click.Path(path_type=Path), shell_complete=complete.files
)
_session = click.option(
    "-s", "--session", type=click.IntRange(min=1), metavar="N", help="Only this session of `list`."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Group)
def archive() -> None:
    """Search, show and delete what was said.

    FILE is made by `listen --archive FILE`, `transcribe --archive FILE` or `ask --archive FILE`.

    \b
    Examples:
      edge-audiokv listen --mem 4GB --archive talks.archive
      edge-audiokv archive search talks.archive "when does the boat leave?"
      edge-audiokv archive export talks.archive --session 2 -o talk.srt

    The file is readable by its owner alone and holds at most 256 MiB; then the oldest turns go.
    """


@archive.command("list")
@_file
@_json
def list_command(file: Path, as_json: bool) -> None:
    """List the sessions of an archive: when, of what, how long.

    \b
    Examples:
      edge-audiokv archive list talks.archive
      edge-audiokv archive list talks.archive --json
    """
    with _open(file) as store:
        sessions = list(store.sessions())
        if as_json:
            click.echo(json.dumps([item.to_dict() for item in sessions], ensure_ascii=False))
            return
        for item in sessions:
            voice.tell(_line(item))
        voice.note(
            f"{_count(len(sessions), 'session')}, "
            f"{_count(sum(item.turns for item in sessions), 'turn')}, "
            f"{format_bytes(store.file_bytes)}"
        )


@archive.command("search")
@_file
@click.argument("words", nargs=-1, required=True)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="At most so many.",
)
@_session
@_json
def search_command(
    file: Path, words: tuple[str, ...], limit: int, session: int | None, as_json: bool
) -> None:
    """Find turns by words or by a question, the best first.

    Any telling word counts, in any form ("boats" finds "boat"); rare words count more.

    \b
    Examples:
      edge-audiokv archive search talks.archive boat harbour
      edge-audiokv archive search talks.archive "what was said of the boat?" --json
    """
    if not " ".join(words).strip():
        raise click.UsageError("There are no words to look for: name some, or a question.")
    with _open(file) as store:
        found = store.search(" ".join(words), limit=limit, session=session)
        sources = {item.id: item.source for item in store.sessions()} if found else {}
    if as_json:
        click.echo(json.dumps([item.to_dict() for item in found], ensure_ascii=False))
        return
    bold = voice.may_style()
    for item in found:
        pieces = [printable(piece) for piece in f" {item.marked} ".split(MARK)]
        # Every second piece is a word that was found.
        text = " ".join(
            click.style(piece, bold=True) if bold and index % 2 else piece
            for index, piece in enumerate(pieces)
            if piece
        )
        source = printable(Path(sources.get(item.turn.session, "")).name)
        clock = format_clock(item.turn.start_s)[:8]
        voice.tell(f"session {item.turn.session}, {source} ({clock})  {text}")
    if not found:
        voice.note(f"nothing in {printable(str(file))} has these words.")


@archive.command("show")
@_file
@_session
@click.option("--from", "from_s", type=Clock(), default=0.0, help="From this time of a session.")
@click.option("--to", "to_s", type=Clock(), default=float("inf"), help="Up to this time.")
@_json
def show_command(
    file: Path, session: int | None, from_s: float, to_s: float, as_json: bool
) -> None:
    """Print what was said, in order, with times.

    \b
    Examples:
      edge-audiokv archive show talks.archive
      edge-audiokv archive show talks.archive --session 2 --from 12:30 --to 15:00
    """
    with _open(file) as store:
        known = {item.id: item for item in store.sessions()}
        _check(session, known, file)
        shown = None
        for turn in store.turns(session, from_s=from_s, to_s=to_s):
            if as_json:
                click.echo(json.dumps(turn.to_dict(), ensure_ascii=False))
                continue
            if turn.session != shown:
                shown = turn.session
                voice.tell(_line(known[shown]) if shown in known else str(shown))
            voice.tell(f"  ({format_clock(turn.start_s)[:8]})  {printable(turn.text)}")


@archive.command("export")
@_file
@_session
@click.option(
    "-o",
    "--output",
    default="-",
    show_default=True,
    metavar="FILE",
    shell_complete=complete.files,
    help="Where it goes.",
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    help="Format; default: what the name of -o stands for, else text.",
)
@click.option("--overwrite", is_flag=True, help="Write over the file of -o.")
def export_command(
    file: Path, session: int | None, output: str, format_name: str | None, overwrite: bool
) -> None:
    """Write a session as text, JSON or subtitles.

    Without --session the archive must hold a single one.

    \b
    Examples:
      edge-audiokv archive export talks.archive --session 2 -o talk.srt
      edge-audiokv archive export talks.archive -s 2 -f jsonl | head
    """
    format_name = format_of(output, format_name)
    check_unwritten(output, overwrite=overwrite)
    with _open(file) as store:
        known = {item.id: item for item in store.sessions()}
        _check(session, known, file)
        if session is None and len(known) > 1:
            raise click.UsageError(f"{file} holds {len(known)} sessions: say which (--session N).")
        with open_output(output, format_name) as writer:
            for number, turn in enumerate(store.turns(session)):
                writer.write(_final(number, turn))


@archive.command("forget")
@_file
@_session
@click.option(
    "--before",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]),
    metavar="DATE",
    help="What was said before this day or minute (2026-01-31, 2026-01-31T12:00).",
)
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def forget_command(
    file: Path, session: int | None, before: datetime | None, everything: bool, yes: bool
) -> None:
    """Delete a session, what is older than a day, or all; for good.

    What is deleted is overwritten in the file, and the file shrinks.

    \b
    Examples:
      edge-audiokv archive forget talks.archive --session 2
      edge-audiokv archive forget talks.archive --before 2026-01-31 --yes
    """
    if (session is not None) + (before is not None) + everything != 1:
        raise click.UsageError("Say what: one of --session N, --before DATE or --all.")
    with _open(file) as store:
        _check(session, {item.id: item for item in store.sessions()}, file)
        if not yes:
            what = f"session {session}" if session else f"all before {before}" if before else "all"
            click.confirm(f"Delete {what} of {printable(str(file))}?", abort=True, err=True)
        gone = store.forget(session, before_s=before.timestamp() if before else None)
    voice.note(f"{_count(gone, 'turn')} deleted.")


@archive.command("salvage")
@_file
@click.argument("target", metavar="NEW", type=click.Path(path_type=Path))
def salvage_command(file: Path, target: Path) -> None:
    """Save what can be read of a damaged archive into a new file.

    \b
    Examples:
      edge-audiokv archive salvage talks.archive saved.archive
      edge-audiokv archive salvage /media/usb/talks.archive talks.archive
    """
    done = salvage(file, target)
    lost = f", {done.lost} could not be read" if done.lost else ""
    voice.note(f"{_count(done.turns, 'turn')} saved in {printable(str(target))}{lost}.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _open(file: Path) -> Archive:
    return Archive(file, create=False)


def _check(session: int | None, known: dict[int, StoredSession], file: Path) -> None:
    if session is not None and session not in known:
        there = ", ".join(map(str, known)) or "none"
        raise ArchiveError(f"{file} has no session {session}.", cure=f"There are: {there}.")


def _line(item: StoredSession) -> str:
    try:
        began = datetime.fromtimestamp(item.began_s).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a number that is no time, in a file from outside
        began = "?"
    turns = _count(item.turns, "turn")
    clock = format_clock(item.end_s)[:8]
    return f"{item.id:>4}  {began:<16}  {clock}  {turns:>12}  {printable(item.source)}"


def _final(number: int, turn: Turn) -> Final:
    return Final(number, turn.start_s, turn.end_s, turn.text)
