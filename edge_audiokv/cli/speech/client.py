"""`edge-audiokv client`: start, stop and ask the server that runs already; made for hotkeys."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Group
from edge_audiokv.cli.ending import signals_call
from edge_audiokv.cli.speech.unit import unit_text
from edge_audiokv.cli.values import Number
from edge_audiokv.cli.wording import worded
from edge_audiokv.events import (
    DeviceLost,
    DeviceRestored,
    Event,
    Overflow,
    SessionEnded,
    Stalled,
    Warned,
    from_json,
)
from edge_audiokv.output.text import TextWriter
from edge_audiokv.server.events.client import Client, Line, checked, is_answer
from edge_audiokv.server.events.place import default_path
from edge_audiokv.units import format_bytes, format_cap, format_clock, printable

_format = click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    show_default=True,
    help="What is printed: text, or the server's own lines.",
)
_device = click.option(
    "-d", "--device", metavar="ID|NAME", help="Microphone, by number or part of a name."
)


@dataclass(frozen=True)
class _Place:
    path: Path
    wait_s: float

    def connect(self) -> Client:
        return Client(self.path, wait_s=self.wait_s)


_place = click.make_pass_decorator(_Place)
# What a person should see beside the text, as `listen` shows it.
_NOTED = (Warned, DeviceLost, DeviceRestored, Overflow, Stalled)


@click.group(cls=Group)
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    shell_complete=complete.files,
    help="The server's socket, if `serve --events` was given a path.",
)
@click.option(
    "--wait",
    "wait_s",
    type=Number(0, 600),
    default=0.0,
    metavar="SECONDS",
    help="Look so long for a server that is just starting.",
)
@click.pass_context
def client(ctx: click.Context, path: Path | None, wait_s: float) -> None:
    """Start, stop and ask a server that runs.

    `edge-audiokv serve --events` holds the model and the microphone; these commands tell it what
    to do, in a moment. What it hears goes to every client that looks on.

    \b
    Examples:
      edge-audiokv client toggle
      edge-audiokv client tail --format jsonl
      edge-audiokv client ask "What was said first?"
    """
    ctx.obj = _Place(path or default_path(), wait_s)


@client.command("listen")
@_device
@_format
@_place
def listen_command(place: _Place, device: str | None, format_name: str) -> None:
    """Let the server listen, and print what is said.

    Ctrl-C stops it, prints what was said until then, and exits with 130. If another client stops
    it, this ends, too.

    \b
    Examples:
      edge-audiokv client listen
      edge-audiokv client listen -d USB --format jsonl
    """
    signals: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        server.send("stop")

    shown = _Shown(format_name)
    with place.connect() as server:
        begun = server.send("listen", **_fields(device))
        with signals_call(stop):
            reply = _follow(server, shown, answer=begun)
            voice.note(f"listening to {printable(str(reply.get('device')))}; Ctrl-C stops")
            _follow(server, shown)
    if signals:
        sys.exit(128 + signals[0])


@client.command("stop")
@_format
@_place
def stop_command(place: _Place, format_name: str) -> None:
    """Stop listening, and print what was said, in one line.

    \b
    Examples:
      edge-audiokv client stop
      edge-audiokv client stop > notes.txt
    """
    shown = _Shown(format_name)
    with place.connect() as server:
        shown.said(server.ask("stop", patient=True))


@client.command("toggle")
@_device
@_format
@_place
def toggle_command(place: _Place, device: str | None, format_name: str) -> None:
    """Listen, or stop and print what was said: one key for both.

    \b
    Examples:
      edge-audiokv client toggle
      edge-audiokv client toggle | wtype -
    """
    shown = _Shown(format_name)
    with place.connect() as server:
        reply = server.ask("toggle", patient=True, **_fields(device))
        if "text" not in reply and format_name == "text":
            voice.note(f"listening to {printable(str(reply.get('device')))}; again to stop")
        else:
            shown.said(reply)


@client.command("ask")
@click.argument("question")
@_format
@_place
def ask_command(place: _Place, question: str, format_name: str) -> None:
    """Ask about what was heard since the server began to listen.

    \b
    Examples:
      edge-audiokv client ask "What was said first?"
      edge-audiokv client ask "Who called?" --format jsonl
    """
    shown = _Shown(format_name)
    with place.connect() as server:
        shown.said(server.ask("ask", patient=True, question=question))


@client.command("status")
@_format
@_place
def status_command(place: _Place, format_name: str) -> None:
    """Say whether the server listens, and to what.

    \b
    Examples:
      edge-audiokv client status
      edge-audiokv client status --format jsonl
    """
    shown = _Shown(format_name)
    with place.connect() as server:
        reply = server.ask("status")
        if format_name == "jsonl":
            shown.line(reply)
            return
        state = reply["state"]
        if "device" in reply:
            clock = format_clock(reply["clock_s"])[:8]
            state += f" to {printable(reply['device'])}, {clock}, {reply['segments']} segments"
        memory = f"{format_bytes(reply['rss_bytes'])} of --mem {format_cap(reply['cap_bytes'])}"
        click.echo(f"{state}\n{printable(str(reply['model']))}, {memory}")
        if reply["fault"]:
            voice.warn(f"not ready: {reply['fault']}.")


@client.command("tail")
@_format
@_place
def tail_command(place: _Place, format_name: str) -> None:
    """Print what the server hears, whoever started it.

    It ends with the server, or by Ctrl-C, and stops nothing.

    \b
    Examples:
      edge-audiokv client tail
      edge-audiokv client tail --format jsonl | grep final
    """
    shown = _Shown(format_name)
    with place.connect() as server:
        for text, data in server.lines():
            shown.event(text, data)
    voice.note("the server has ended")


@client.command("unit")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTION...]")
def unit_command(options: tuple[str, ...]) -> None:
    """Print a systemd user unit for the server.

    OPTIONs, after --, are those of `serve`. Save it as
    ~/.config/systemd/user/edge-audiokv.service; then: systemctl --user enable --now edge-audiokv

    \b
    Examples:
      edge-audiokv client unit > edge-audiokv.service
      edge-audiokv client unit -- --mem 1GB --port 8090
    """
    click.echo(unit_text(options), nl=False)


class _Shown:
    """What comes from the server, on standard output; flushed, for pipes."""

    def __init__(self, format_name: str) -> None:
        self._raw = format_name == "jsonl"
        self._writer = TextWriter(sys.stdout)

    def event(self, text: str, data: Line) -> None:
        """A line of the stream."""
        if self._raw:
            self._put(text)
            return
        if data["type"] == "dropped":
            return  # partials and memory reports are not shown
        try:
            event: Event = from_json(text)
        except ValueError:  # of a newer server
            return
        if isinstance(event, _NOTED):
            from edge_audiokv.output.live import notice  # not for a key's quick press

            for line, _style in notice(worded(event)):
                voice.note(line)
        self._writer.write(event)

    def said(self, reply: Line) -> None:
        """The text of a reply, if it has one."""
        if self._raw:
            self.line(reply)
        elif reply.get("text"):
            self._put(printable(reply["text"]))

    def line(self, reply: Line) -> None:
        import json  # for who asks for it

        self._put(json.dumps(reply, ensure_ascii=False))

    def _put(self, text: str) -> None:
        print(text, flush=True)


def _fields(device: str | None) -> dict[str, str]:
    return {} if device is None else {"device": device}


def _follow(server: Client, shown: _Shown, *, answer: int | None = None) -> Line:
    """Show events until the answer has come, or without one until the session has ended."""
    for text, data in server.lines():
        if answer is not None and is_answer(data, answer):
            return checked(data)
        if data["type"] in ("reply", "error"):
            continue
        shown.event(text, data)
        if answer is None and data["type"] == SessionEnded.wire_name():
            return data
    raise server.gone()
