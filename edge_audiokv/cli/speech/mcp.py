"""`edge-audiokv mcp`: let an assistant look up what was said."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.errors import InputError, MissingExtraError


@click.command("mcp", cls=Command)
@click.argument(
    "file", metavar="FILE", type=click.Path(path_type=Path), shell_complete=complete.files
)
def command(file: Path) -> None:
    """Let an assistant look up what was said, over the Model Context Protocol.

    FILE is an archive that `listen --archive FILE` or `transcribe --archive FILE` makes; it may be
    written meanwhile. An MCP host starts this and speaks to it on stdin and stdout: three tools to
    list sessions, search them, and read a stretch. Nothing is changed, no network is used.

    \b
    Examples:
      edge-audiokv mcp talks.archive
      edge-audiokv mcp ~/Documents/talks.archive
    """
    try:
        from edge_audiokv.server.mcp.run import serve
    except ImportError:
        raise MissingExtraError(
            "The Model Context Protocol needs mcp, which is not installed.",
            cure="Run: pip install 'edge-audiokv[mcp]'",
        ) from None
    if sys.stdin is None:
        raise InputError("Standard input is closed.", cure="Let an MCP host start this.")
    serve(file, on_ready=_tell_who_watches)


def _tell_who_watches() -> None:
    """Who starts it by hand would see nothing at all; a host has a pipe there."""
    if sys.stdin.isatty():
        voice.note("waiting for an MCP client on standard input; Ctrl-C ends")
