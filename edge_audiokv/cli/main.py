"""The command line: a table of commands, one exit code a kind of error, nothing imported early."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from typing import Any

import click

from edge_audiokv import __version__, noise
from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command, Group
from edge_audiokv.cli.ending import Terminated, signals_raise
from edge_audiokv.errors import MOST_CHARS, EdgeAudioKVError
from edge_audiokv.units import clipped, printable

_LASTING = ("listen", "serve", "client", "mcp")
# name: (module in edge_audiokv.cli, attribute, summary). Modules load only when their command runs;
# a test compares the summaries with the commands' own help.
COMMANDS = {
    "listen": ("speech.listen", "listen", "Listen and write down what is said, inside --mem."),
    "transcribe": ("speech.transcribe", "transcribe", "Transcribe recordings of any length."),
    "ask": ("speech.ask", "ask", "Answer questions about a recording."),
    "archive": ("speech.archive", "archive", "Search, show and delete what was said."),
    "serve": (
        "speech.serve",
        "serve",
        "Serve OpenAI's HTTP interface to programs on this machine.",
    ),
    "client": ("speech.client", "client", "Start, stop and ask a server that runs."),
    "mcp": ("speech.mcp", "command", "Let an assistant look up what was said."),
    "models": ("models.cached", "models", "List, fetch, convert, inspect and remove models."),
    "pull": ("models.cached", "pull", "Fetch a model into the cache."),
    "devices": ("machine.devices", "devices", "List the microphones."),
    "doctor": ("machine.doctor", "doctor", "Look at this machine, and at what it lacks."),
    "policies": ("policies", "policies", "List the eviction policies and their options."),
    "quantize": ("models.quantize", "command", "Make smaller GGUF files of a model."),
    "imatrix": ("models.imatrix", "command", "Gather an importance matrix from speech."),
    "calibrate": (
        "models.calibrate",
        "calibrate",
        "Measure which KV heads a model's hearing rests on.",
    ),
    "eval": ("evaluate.group", "evaluate", "Measure a model on recordings whose text is known."),
    "bench": ("evaluate.bench", "bench", "Measure speed and memory on this machine."),
    "completion": ("completion", "completion", "Print what makes SHELL complete commands."),
    "soak": (
        "evaluate.soak",
        "soak",
        "Let a session listen for hours and watch memory, errors and pace.",
    ),
}


class ReaderGone(BaseException):
    """A broken pipe on its way past click, which would exit with 1."""


class LazyGroup(Group):
    """A click group whose commands are imported when they are asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None
        except KeyboardInterrupt:
            # click would end what we have told with an empty line.
            raise Terminated(signal.SIGINT) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute, _summary = COMMANDS[cmd_name]
        module = importlib.import_module(f"edge_audiokv.cli.{module_name}")
        command: click.Command = getattr(module, attribute)
        # Imported here: --version and --help do without the settings that it needs.
        options = importlib.import_module("edge_audiokv.cli.options")
        options.name_variables(command, f"EDGE_AUDIOKV_{cmd_name.upper()}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from edge_audiokv.native.library import describe_library

    click.echo(f"edge-audiokv {__version__} ({describe_library()})")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "EDGE_AUDIOKV",
        "max_content_width": 100,
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, the llama.cpp it was built from and the patch level.",
)
def cli() -> None:
    """Audio language models that listen for hours in a fixed amount of RAM.

    \b
    Examples:
      edge-audiokv listen --mem 4GB
      edge-audiokv transcribe talk.flac -o talk.srt
      edge-audiokv ask talk.flac "What was decided?"

    Options can be set by the environment: EDGE_AUDIOKV_MEM=1GB for all commands that load a model,
    EDGE_AUDIOKV_LISTEN_MEM=4GB for one command and any of its options. `doctor` shows what is set.

    Exit codes: 0 done, 1 other error, 2 wrong usage, 3 unusable audio, 4 model, 5 download,
    6 does not fit --mem, 7 no microphone, 8 native library, 9 KV policy, 10 output,
    11 missing extra, 12 archive, 13 failed check, 14 above a limit, 129 hung up, 130 interrupted,
    143 terminated.
    """


def _usage(error: click.ClickException) -> str:
    """A wrong command line in one line, with the way to its help."""
    if isinstance(error, click.BadParameter):
        options = importlib.import_module("edge_audiokv.cli.options")
        options.name_source(error)
    text = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        import difflib  # for who mistypes

        # click names whatever is a little alike.
        (close,) = difflib.get_close_matches(error.option_name, error.possibilities, 1)
        text = f"{error.message} Did you mean {close}?"
    message = clipped(printable(text), MOST_CHARS)
    message += "" if message.endswith((".", "?")) else "."
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    end = "" if message.endswith((".", "?", "!")) else "."
    like = ""
    if isinstance(error, click.MissingParameter) and isinstance(context.command, Command):
        like = next((f" For example: {line}" for line in context.command.examples), "")
    return f"{message}{end}{like or f' See `{context.command_path} --help`.'}"


def _lasts(args: list[str]) -> bool:
    """Is it a command that only a signal ends?"""
    return next((word for word in args if not word.startswith("-")), "") in _LASTING


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    logging.getLogger("edge_audiokv").addHandler(logging.NullHandler())
    noise.tell_by(voice.warn)
    try:
        with signals_raise():
            code = cli.main(args=args, prog_name="edge-audiokv", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except EdgeAudioKVError as error:
        voice.error(str(error))
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        # Nothing was asked for: what can be asked, as it is read best.
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        voice.error(_usage(error))
        sys.exit(error.exit_code)
    except (OSError, MemoryError) as error:
        # What no part foresaw (no file handle or memory left) is no reason for a traceback.
        what = str(error) or type(error).__name__
        voice.error(str(EdgeAudioKVError(what.rstrip(".") + ".")))
        sys.exit(EdgeAudioKVError.exit_code)
    except (KeyboardInterrupt, click.Abort, Terminated) as end:
        if not _lasts(sys.argv[1:] if args is None else args):
            voice.broken_off()
        sys.exit(end.code if isinstance(end, Terminated) else 130)
    except ReaderGone:
        # The reader went away (`| head`): not our error. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
