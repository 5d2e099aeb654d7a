"""`edge-audiokv ask`: hear a recording, then answer questions about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import TextColumn, TimeRemainingColumn

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.opening import make_source
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.bars import FIGURE, Bars, bar_columns
from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.loading import loading
from edge_audiokv.cli.options import (
    archive_option,
    engine_options,
    placement_option,
    recall_option,
    segment_option,
    settings_from,
)
from edge_audiokv.cli.results import tell_loaded
from edge_audiokv.cli.waiting import waiting
from edge_audiokv.engine.facts import model_facts
from edge_audiokv.engine.prompt import check_asks
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.events import Answer, Event, Final, Warned
from edge_audiokv.models import catalog
from edge_audiokv.output.answer import clocks_of
from edge_audiokv.units import printable


@click.command(cls=Command)
@click.argument("file", metavar="FILE", shell_complete=complete.files)
@click.argument("questions", nargs=-1, required=True, metavar="QUESTION...")
@engine_options
@click.option(
    "--context",
    type=click.Choice(["fresh", "rolling"]),
    default="fresh",
    show_default=True,
    help="Write down each segment alone, or with all before it in view.",
)
@segment_option(15.0)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json has the text that was heard, too.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@placement_option
@recall_option
@archive_option
def ask(
    file: str,
    questions: tuple[str, ...],
    context: str,
    max_segment_s: float,
    format_name: str,
    as_json: bool,
    placement: str,
    recall: bool,
    archive_path: Path | None,
    **values: Any,
) -> None:
    """Answer questions about a recording.

    FILE (or - for a sound file on standard input) is heard once, as fast as the machine can, and
    stays in the cache within --mem; each question is answered from there, and none changes what
    the next one sees. Where nobody speaks, the answer says so, no model is asked, and the exit
    code is 0: in JSON `heard` is false then. On a terminal answers appear as they are decoded.

    \b
    Examples:
      edge-audiokv ask meeting.flac "What was decided?"
      edge-audiokv ask meeting.flac "Who spoke?" "When do they meet?" --json
      edge-audiokv ask day.ogg "What is said about the boat?" --kv-budget 40%
    """
    as_json = as_json or format_name == "json"
    if not all(question.strip() for question in questions):
        raise click.UsageError("A question is empty.")
    settings = SessionSettings(
        context=context,
        partial_interval_s=0.0,
        report_interval_s=0.0,
        endpoint=EndpointConfig(max_segment_s=max_segment_s),
        archive=archive_path,
        placement=placement,
        recall=recall,
    )
    engine = settings_from(values)
    source = make_source(file)
    if file != "-":
        # A wrong path is told before seconds are spent on loading a model.
        with source:
            pass
    # Before the recording is heard.
    check_asks(catalog.resolve(engine.model).prompt)
    console = voice.console()
    with loading(console, engine.model) as report:
        session = Session(engine, settings, progress=report).load()
    with session:
        tell_loaded(session.runtime)
        finals = _hear(session, source, console)
        voice.detail(f"{printable(file)}: {session.clock_s:.1f} s heard")
        if not any(final.text.strip() for final in finals):
            voice.warn(f"no speech was found in {file}.")
        answers = []
        for question in questions:
            if as_json:
                with waiting(console, "answering"):
                    answers.append(session.ask(question))
            else:
                _answer(session, question, console, alone=len(questions) == 1)
            voice.detail(f"answered: {question.strip()}")
        if as_json:
            click.echo(
                json.dumps(_document(printable(file), session, finals, answers), ensure_ascii=False)
            )


def _hear(session: Session, source: AudioSource, console: Console) -> list[Final]:
    """Listen to all of it. The finals are a file's, so their number is bounded by its length."""
    finals: list[Final] = []
    bar = Bars(
        *bar_columns(
            console,
            TextColumn("{task.completed:.0f}/{task.total:.0f} s", table_column=FIGURE),
            TimeRemainingColumn(table_column=FIGURE),
        ),
        console=console,
    )
    with bar:
        task = bar.add_task("listening", total=0.01)
        for event in session.listen(source):
            duration_s = source.duration_s if isinstance(source, FileSource) else 0.0
            bar.update(task, completed=session.clock_s, total=max(duration_s, session.clock_s))
            _note(event)
            if isinstance(event, Final):
                finals.append(event)
    return finals


def _note(event: Event) -> None:
    if isinstance(event, Warned):
        voice.warn(event.message)


def _answer(session: Session, question: str, console: Console, *, alone: bool) -> None:
    """One question gives its answer and nothing else; several say which is which."""
    if not alone:
        click.echo(f"Q: {printable(question)}")
        sys.stdout.flush()
    growing = _Growing("" if alone else "A: ")
    with waiting(console, "answering") as stop:

        def show(text: str) -> None:
            stop()
            growing.show(text)

        watched = sys.stdout is not None and sys.stdout.isatty()
        answer = session.ask(question, on_text=show if watched else None)
    growing.end(answer.text, clocks_of(answer))


class _Growing:
    """A text that appears on standard output as it grows, behind `name`."""

    def __init__(self, name: str = "") -> None:
        self._name = name
        self._shown = ""

    def show(self, text: str) -> None:
        # Half a character of several bytes may still change.
        text = printable(text).rstrip("\ufffd")
        if text.startswith(self._shown):
            click.echo(self._name + text[len(self._shown) :], nl=False)
            sys.stdout.flush()
            self._name, self._shown = "", text

    def end(self, text: str, after: str) -> None:
        """The rest of it, and `after`; all anew in the odd case that it has become another."""
        text = printable(text)
        known = text.startswith(self._shown)
        click.echo(self._name + (text[len(self._shown) :] if known else f"\n{text}") + after)
        sys.stdout.flush()


def _document(
    file: str, session: Session, finals: list[Final], answers: list[Answer]
) -> dict[str, Any]:
    report = session.memory()
    return {
        "file": file,
        **model_facts(session.runtime),
        "context": session.settings.context,
        "duration_s": round(session.clock_s, 3),
        "segments": [final.to_dict() for final in finals],
        "answers": [_without_clock(answer.to_dict()) for answer in answers],
        "rss_bytes": report.rss_bytes,
        "cap_bytes": report.cap_bytes,
    }


def _without_clock(answer: dict[str, Any]) -> dict[str, Any]:
    """Every question is asked when all was heard."""
    return {name: value for name, value in answer.items() if name not in ("type", "time_s")}
