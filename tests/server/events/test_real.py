"""The desktop's way with the real model, loaded once: speech, a question, and what was said."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.live.pacing import Paced
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.events import Final, MemoryReport, Partial, from_json
from edge_audiokv.server.engines import Engines
from edge_audiokv.server.limits import Limits
from tests.server.events.conftest import Caller
from tests.server.house import Listening, Voice

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("local_model"),
    pytest.mark.skipif(os.name != "posix", reason="Unix sockets"),
]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Listening]:
    engines = Engines(EngineSettings(threads=1, mem="4GB"), max_segment_s=15.0)
    engines.load()
    folder = tmp_path_factory.mktemp("events")
    folder.chmod(0o700)
    running = Listening(engines.all[0], folder, Limits())
    running.start()
    yield running
    running.end()
    engines.close()


def readme_commands() -> list[list[str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```sh\n(.*?)```", text, flags=re.S) if "--events" in b]
    start, *commands = [shlex.split(line) for line in block.splitlines()]
    assert start == ["edge-audiokv", "serve", "--mem", "1GB", "--events", "&"]
    return commands


def run(served: Listening, words: list[str]) -> str:
    assert words[0] == "edge-audiokv"
    ran = subprocess.run(
        [sys.executable, "-m", "edge_audiokv", *words[1:]],
        env={**os.environ, "EDGE_AUDIOKV_CLIENT_SOCKET": str(served.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def heard_of(text: str, meant: str) -> float:
    said, wanted = (set(re.findall(r"[a-z']+", each.lower())) for each in (text, meant))
    return len(said & wanted) / len(wanted)


def test_what_the_readme_says_works_as_pasted(served, spoken) -> None:
    begin, ask, end = readme_commands()
    clip = spoken["letter"]
    served.source = Voice(Paced(FileSource(clip.path)))
    watching = Caller(served)
    watching.socket.settimeout(60)
    assert run(served, begin) == ""
    final = watching.until("final")
    answer = run(served, ask)
    held = served.service.engine.heads
    text = run(served, end)
    ended = watching.until("session-ended")
    watching.close()
    latencies = dict(served.service.latencies.samples())
    assert latencies['_count{door="events"}'] == 1
    assert 0.2 < latencies['_sum{door="events"}'] < 30
    # Every head holds the sentence, sound and text apart.
    assert held is not None and held.audio.shape == held.capacity.shape
    assert held.audio.min() > 12 * (clip.duration_s - 1.5) and held.text.min() >= 8
    assert heard_of(text, clip.text) >= 0.75 and heard_of(text, final["text"]) == 1
    assert heard_of(answer, clip.text) > 0.1 and "Nothing was heard" not in answer
    assert ended["segments"] == 1 and ended["reason"] == "stopped"
    events = [from_json(json.dumps(line)) for line in watching.seen]
    assert any(isinstance(event, Partial) and event.text for event in events)
    told = next(event for event in events if isinstance(event, Final))
    assert " ".join(word.text for word in told.words) == told.text
    assert all(
        line["model"] == "smollm2-audio"
        for line in watching.seen
        if line["type"] in ("final", "answer")
    )


def test_a_request_that_follows_knows_nothing_of_it_and_the_other_way(served, spoken) -> None:
    clip = spoken["garden"]
    answer = httpx.post(
        f"http://127.0.0.1:{served.http_port}/v1/audio/transcriptions",
        files={"file": clip.path.read_bytes()},
        data={"model": "whisper-1"},
        trust_env=False,
        timeout=60,
    )
    assert heard_of(answer.json()["text"], clip.text) >= 0.75
    # Nor does the memory hold a row of it.
    left = served.service.engine.heads
    assert left is not None and not (left.audio + left.text + left.other).any()
    served.source = Voice()
    caller = Caller(served)
    caller.socket.settimeout(60)
    caller.ask("listen")
    told = caller.ask("ask", question="What did she find?")
    assert told["text"] == "No words were heard." and told["heard"] is False
    # A second of silence has no text; what is in memory is told every ten.
    assert caller.ask("stop")["text"] == ""
    assert not any(
        isinstance(from_json(json.dumps(line)), MemoryReport)
        for line in caller.seen
        if line["type"] not in ("reply", "error")
    )
    caller.close()
