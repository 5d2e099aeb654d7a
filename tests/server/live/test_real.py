"""Two sessions of the real model, loaded once: each as alone, a load test, and a soak."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import pytest

from edge_audiokv.cli.evaluate import soak as soak_command
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.served.load import Speech, run_load
from edge_audiokv.eval.served.process import ServerProcess
from edge_audiokv.eval.wer import read_manifest
from edge_audiokv.events import Final
from edge_audiokv.server import worker
from edge_audiokv.server.engine import SessionEngine
from edge_audiokv.server.engines import Engines
from edge_audiokv.server.limits import Limits
from tests.server.house import Running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.alone,
    pytest.mark.usefixtures("local_model"),
    pytest.mark.skipif(os.name != "posix", reason="counts resident memory as Linux does"),
]
MANIFEST = Path(__file__).parents[2] / "data" / "manifest.jsonl"
CODES = MANIFEST.parent / "codes" / "manifest.jsonl"


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    # The tests' own process holds what others of them have loaded, too.
    with Engines(EngineSettings(threads=1, mem="6GB"), max_segment_s=15.0, sessions=2) as loaded:
        yield loaded


class Here(ServerProcess):
    """A server in this process, as if it had one of its own."""

    def __init__(self, settings: EngineSettings, port: int) -> None:
        super().__init__(settings)
        self.port = port

    def load(self) -> Self:
        return self

    def kernel_bytes(self) -> tuple[int, int, int]:
        rss_bytes = int(psutil.Process().memory_info().rss)
        return rss_bytes, rss_bytes, rss_bytes


@pytest.fixture(scope="module")
def server(engines, tmp_path_factory) -> Iterator[Here]:
    first, *more = engines.all
    running = Running(first, tmp_path_factory.mktemp("live"), Limits(), more=more)
    running.start()
    yield Here(EngineSettings(mem="6GB"), running.port)
    running.end()


def texts(told: list[Any]) -> list[str]:
    return [item.text for item in told if isinstance(item, Final)]


def test_sessions_that_take_turns_hear_as_if_they_were_alone(engines, spoken) -> None:
    clips = [np.rint(spoken[name].samples * 32767).astype("<i2") for name in ("letter", "harbour")]
    alone = []
    for engine, clip in zip(engines.all, clips, strict=True):
        alone.append(texts([*engine.feed(clip.tobytes(), 16_000, partials=True), *engine.finish()]))
        engine.forget()
    told: list[list[Any]] = [[], []]
    for at in range(0, max(map(len, clips)), 1600):
        for engine, clip, heard in zip(engines.all, clips, told, strict=True):
            heard += engine.feed(clip[at : at + 1600].tobytes(), 16_000, partials=True)
    for engine, heard in zip(engines.all, told, strict=True):
        heard += engine.finish()
    assert list(map(texts, told)) == alone and all(alone)
    # What one has heard the other cannot be asked about.
    answer = engines.all[0].answer("What did he write?")
    assert answer.heard and "letter" in answer.text
    first, second = (engine.heads for engine in engines.all)
    assert first is not None and second is not None
    assert (first.capacity == second.capacity).all() and not np.array_equal(
        first.audio, second.audio
    )
    pools = [engine.session.caches.memory.context.pool_nbytes for engine in engines.all]
    assert engines.runtime.ledger.parts()["KV pools"] == sum(pools) == 2 * pools[0]
    for engine in engines.all:
        engine.forget()


def test_sessions_that_work_at_once_hear_as_if_they_were_alone(engines, spoken) -> None:
    clips = [np.rint(spoken[name].samples * 32767).astype("<i2") for name in ("letter", "harbour")]

    def hear(engine: SessionEngine, clip: np.ndarray) -> list[str]:
        told: list[Any] = []
        for at in range(0, len(clip), 1600):
            told += engine.feed(clip[at : at + 1600].tobytes(), 16_000, partials=True)
        return texts([*told, *engine.finish()])

    alone = list(map(hear, engines.all, clips))
    for engine in engines.all:
        engine.forget()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(hear, engines.all, clips)) == alone and all(alone)
    for engine in engines.all:
        engine.forget()


def test_a_small_load(server, monkeypatch) -> None:
    monkeypatch.setattr(worker, "_LIVE_RETRY_S", 1)
    speech = Speech(read_manifest(MANIFEST)[:1], 3.0)
    report = run_load(server, speech, clients=3, sessions=2, speed=3.0)
    assert report.faults == [], report
    assert (report.served, report.at_once) == (3, 2)
    assert report.refusals >= 1 and report.wrong_refusals == 0
    assert report.same_texts == 3, report.differences
    assert report.finals == 3 and report.alone_p50_ms > 0
    assert "3 of 3 as the client alone" in "\n".join(report.lines())
    assert json.loads(json.dumps(report.to_dict()))["differences"]["words"] > 15
    counted = server.metrics()
    assert counted['final_latency_seconds_count{door="realtime"}'] >= 4
    assert 0 < counted['final_latency_seconds_sum{door="realtime"}'] < 4 * 30


def test_a_short_soak_through_a_server(server, call, monkeypatch) -> None:
    monkeypatch.setattr(soak_command, "ServerProcess", lambda _: nullcontext(server))
    ran = call(
        *("soak", "--manifest", MANIFEST, "--hours", "0.02", "--speech-share", "0.1"),
        *("--mem", "6GB", "--threads", "1", "--through-server", "--json"),
        *("--codes", CODES, "--ask-every", "0.1"),
    )
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["complete"] and report["settings"]["through_server"]
    assert report["segments"] >= 1 and report["words"] > 0 and report["wer"] < 0.3
    assert report["answers"][-1]["right"], report["answers"]
    (minute,) = report["minutes"]
    assert minute["rows"] > 0 and minute["ledger_bytes"] > 100_000_000


def test_what_a_server_does_not_offer_is_refused(call) -> None:
    ran = call("soak", "--manifest", MANIFEST, "--through-server", "--context", "rolling")
    assert ran.code == 2 and "--through-server" in ran.err
