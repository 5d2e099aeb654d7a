"""The Model Context Protocol with its own client, which starts the command as a host does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from edge_audiokv.archive.store import Archive
from edge_audiokv.cli.main import cli
from edge_audiokv.server.mcp.tools import MOST_TURNS, TranscriptTools

from ..cli.screen import Terminal

BOAT = "the boat leaves the harbour at noon"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "talks.archive"
    with Archive(made) as archive:
        first = archive.begin("monday.flac", began_s=1_700_000_000.0)
        archive.add(first, 1.0, 4.0, BOAT)
        archive.add(first, 5.0, 9.0, "she found a garden")
        second = archive.begin("microphone", began_s=1_700_090_000.0)
        archive.add(second, 0.5, 2.0, "nobody spoke of boats again")
    return made


@pytest.fixture
def tools(path: Path) -> Iterator[TranscriptTools]:
    with Archive(path, create=False) as archive:
        yield TranscriptTools(archive)


def ask(path: Path, work: Callable[[ClientSession], Coroutine[Any, Any, Any]]) -> Any:
    """What `work` makes of a session with `edge-audiokv mcp path`."""
    command = ["-m", "edge_audiokv", "mcp", str(path)]
    server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))

    async def run() -> Any:
        async with (
            asyncio.timeout(60),
            stdio_client(server) as (read, write),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await work(session)

    return asyncio.run(run())


def test_who_starts_it_by_hand_is_told_and_gets_out_with_one_ctrl_c(path: Path) -> None:
    with Terminal("mcp", path) as terminal:
        terminal.until_words("waiting for an MCP client on standard input; Ctrl-C ends", 30)
        time.sleep(0.3)  # until it reads
        terminal.type(b"\x03")
        assert terminal.finish(10) == 130
        assert terminal.lines[1:] in ([], ["^C"])


def test_a_signal_ends_it_while_its_host_is_silent(path: Path) -> None:
    command = [sys.executable, "-m", "edge_audiokv", "mcp", str(path)]
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello |= {"clientInfo": {"name": "test", "version": "1"}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
        assert process.stderr is not None and process.stderr.read().strip() == ""


def test_a_host_finds_three_tools_that_change_nothing_and_uses_them(path: Path) -> None:
    async def work(session: ClientSession) -> Any:
        listed = (await session.list_tools()).tools
        found = await session.call_tool("transcript_search", {"question": "when does it leave?"})
        # What is said meanwhile is there at once.
        with Archive(path) as archive:
            archive.add(2, 3.0, 4.0, "the ferry is late")
        late = await session.call_tool("transcript_search", {"question": "ferry"})
        got = await session.call_tool("transcript_get", {"session": 1, "to_s": 4.5})
        wrong = await session.call_tool("transcript_get", {"session": 9})
        return listed, found, late, got, wrong

    listed, found, late, got, wrong = ask(path, work)
    names = ["transcript_sessions", "transcript_search", "transcript_get"]
    assert [tool.name for tool in listed] == names
    assert all(tool.annotations.read_only_hint and tool.description for tool in listed)
    (first,) = found.structured_content["found"]
    assert (first["text"], first["session"], first["start_s"]) == (BOAT, 1, 1.0)
    assert "**leaves**" in first["marked"] and first["said"] == "2023-11-14T22:13:21+00:00"
    assert late.structured_content["found"][0]["text"] == "the ferry is late"
    assert [turn["text"] for turn in got.structured_content["turns"]] == [BOAT]
    assert wrong.is_error and "There are: 1 to 2" in wrong.content[0].text


def test_the_readme_starts_it_as_a_host_would(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = readme[readme.index('{"mcpServers"') :].split("\n", 1)[0]
    started = json.loads(block)["mcpServers"]["talks"]
    assert started["command"] == "edge-audiokv"
    monkeypatch.chdir(path.parent)
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "edge_audiokv", *started["args"]],
        env=dict(os.environ),
    )

    async def run() -> Any:
        async with (
            asyncio.timeout(60),
            stdio_client(server) as (read, write),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await session.call_tool("transcript_sessions", {})

    assert len(asyncio.run(run()).structured_content["sessions"]) == 2


def test_sessions_say_when_and_of_what(tools: TranscriptTools) -> None:
    told = tools.sessions()
    assert [item["source"] for item in told["sessions"]] == ["monday.flac", "microphone"]
    assert told["sessions"][0]["began"] == "2023-11-14T22:13:20+00:00"
    assert told["n_older"] == 0


def test_a_long_session_comes_in_pages_and_loses_nothing(tmp_path: Path) -> None:
    with Archive(tmp_path / "long.archive") as archive:
        session = archive.begin("day")
        with archive.together():
            for n in range(3 * MOST_TURNS):
                text = f"turn {n} " + ("word " * 300 if n % 50 == 7 else "")
                archive.add(session, float(n), n + 0.5, text)
        tools, from_s, seen = TranscriptTools(archive), 0.0, []
        while from_s is not None:
            page = tools.get(session, from_s)
            assert 0 < len(page["turns"]) <= MOST_TURNS
            seen += [int(turn["text"].split()[1]) for turn in page["turns"]]
            from_s = page["more_from_s"]
    assert seen == list(range(3 * MOST_TURNS))


@pytest.mark.parametrize(
    "call",
    [
        lambda tools: tools.search("boat", limit=0),
        lambda tools: tools.search("boat", limit=10**9),
        lambda tools: tools.search("boat", session=-1),
        lambda tools: tools.get(1, 5.0, 4.0),
        lambda tools: tools.get(1, float("nan")),
    ],
)
def test_what_cannot_be_is_refused_with_the_choices(tools: TranscriptTools, call: Any) -> None:
    from edge_audiokv.errors import InputError

    with pytest.raises(InputError) as caught:
        call(tools)
    assert caught.value.cure


def test_no_archive_is_told_before_anybody_is_answered(tmp_path: Path) -> None:
    missing = CliRunner().invoke(cli, ["mcp", str(tmp_path / "none.archive")])
    assert "There is no archive" in str(missing.exception) and missing.stdout == ""
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (a)").connection.close()
    assert CliRunner().invoke(cli, ["mcp", str(other)]).exit_code != 0
