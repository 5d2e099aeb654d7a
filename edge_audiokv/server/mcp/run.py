"""The Model Context Protocol over standard input and output, as assistants start it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from edge_audiokv import __version__
from edge_audiokv.archive.store import Archive
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.server.mcp.interruptible import until_stopped
from edge_audiokv.server.mcp.tools import TranscriptTools

P = ParamSpec("P")
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_INSTRUCTIONS = (
    "What was said near this machine's microphone or in its recordings, written down as it was "
    "heard: words may be wrong. Search first, then get the stretch around what was found. "
    "Times are seconds since a session began."
)


def serve(path: Path, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Answer on standard output until standard input ends. Raises ArchiveError."""
    with Archive(path, create=False) as archive:
        server = make_server(TranscriptTools(archive))
        on_ready()
        anyio.run(until_stopped, server.run_stdio_async)


def make_server(tools: TranscriptTools) -> MCPServer[Any]:
    """Three tools, none of which changes anything."""
    server: MCPServer[Any] = MCPServer(
        "edge-audiokv", version=__version__, instructions=_INSTRUCTIONS, log_level="ERROR"
    )

    @server.tool(annotations=_READS)
    def transcript_sessions() -> dict[str, Any]:
        """List what was recorded: sessions with their number, beginning, source and length."""
        return _told(tools.sessions)

    @server.tool(annotations=_READS)
    def transcript_search(
        question: str, limit: int = 10, session: int | None = None
    ) -> dict[str, Any]:
        """Find what was said by words or by a question, the best first."""
        return _told(tools.search, question, limit, session)

    @server.tool(annotations=_READS)
    def transcript_get(
        session: int, from_s: float = 0.0, to_s: float | None = None
    ) -> dict[str, Any]:
        """Read a session between two times, in order. Go on at more_from_s if it is given."""
        return _told(tools.get, session, from_s, to_s)

    return server


def _told(work: Callable[P, dict[str, Any]], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
    """Our own errors go to the assistant, who can mend what it asked."""
    try:
        return work(*args, **kwargs)
    except EdgeAudioKVError as error:
        raise ToolError(f"{error.what} {error.cure}".strip()) from None
