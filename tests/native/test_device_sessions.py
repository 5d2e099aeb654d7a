"""Commands, sessions and servers whose LLM is on a device write what they write on the CPU, and
what they take of it is what was planned.

Needs a library that was built with a backend: scripts/test_compute makes one and runs these.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.engine.room import Room
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.events import Final
from edge_audiokv.models.download import LocalModel
from edge_audiokv.native import compute
from edge_audiokv.native.compute import ComputeDevice, compute_devices, find_device
from tests.conftest import Clip, Command
from tests.server.served import Served

from .transfers import Carried, counting

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# What a driver that is a program takes counts as the process's.
MEM = "4GB"
MB = 1_000_000


@pytest.fixture(scope="module")
def device() -> ComputeDevice:
    found = find_device("auto")
    if found is None:
        pytest.skip("this library was built for the CPU alone: scripts/test_compute builds another")
    return found


@pytest.fixture(scope="module", autouse=True)
def _there(device: ComputeDevice, local_model: LocalModel) -> None:
    """A device, and the default model's files."""


def texts(out: str) -> list[str]:
    """What was written and answered, without times and bytes."""
    found = json.loads(out)
    if isinstance(found, list):
        return [score["hypothesis"] for report in found for score in report["scores"]]
    return [each["text"] for each in found["segments"] + found["answers"]]


@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", "CLIP", "-f", "json"],
        ["transcribe", "CLIP", "-f", "json", "--kv-budget", "40%"],
        ["transcribe", "CLIP", "-f", "json", "-ctk", "q8_0", "-ctv", "q8_0"],
        ["transcribe", "CLIP", "-f", "json", "--kv-device", "cpu"],
        ["listen", "CLIP", "-f", "json", "--no-partials"],
        ["ask", "CLIP", "Who wrote the letter?", "--json"],
        ["eval", "wer", "--manifest", "MANIFEST", "--json"],
    ],
    ids=lambda words: "-".join(word.strip("-") for word in words[:1] + words[4:]),
)
def test_commands(spoken: dict[str, Clip], command: Command, words: list[str]) -> None:
    clip = spoken["letter"]
    manifest = command.folder / "manifest.jsonl"
    manifest.write_text(json.dumps({"id": "a", "path": str(clip.path), "text": clip.text}) + "\n")
    filled = {"CLIP": clip.path, "MANIFEST": manifest}
    arguments = [filled.get(word, word) for word in words]
    here = command(*arguments, "-q")
    there = command(*arguments, "-q", "--mem", MEM, "-ngl", "all")
    assert (here.code, there.code) == (0, 0), there.err
    wanted = texts(here.out)
    assert any(wanted)
    assert texts(there.out) == wanted


def heard_side_by_side(engine: EngineSettings, clips: list[Clip]) -> list[list[str]]:
    """What sessions of one room write that hear at the same time, each its own clip."""
    listening = SessionSettings(partial_interval_s=0.0, report_interval_s=0.0)
    room = Room(engine, listening, len(clips)).load()
    sessions = [Session(room=room).load() for _ in clips]

    def hear(session: Session, clip: Clip) -> list[str]:
        events = [*session.feed(clip.samples, live=False), *session.finish()]
        return [event.text for event in events if isinstance(event, Final)]

    try:
        with ThreadPoolExecutor(len(clips)) as pool:
            return list(pool.map(hear, sessions, clips))
    finally:
        for session in sessions:
            session.close()
        room.close()


def test_sessions_side_by_side(spoken: dict[str, Clip]) -> None:
    clips = [spoken["letter"], spoken["harbour"]]
    there = heard_side_by_side(EngineSettings(mem=MEM, gpu_layers="all"), clips)
    here = heard_side_by_side(EngineSettings(mem=MEM), clips)
    assert there == here and all(there)


def served(folder: Path, clips: list[Clip], *arguments: str) -> list[str]:
    """What a server of two sessions answers to requests that come together."""
    folder.mkdir()
    server = Served(folder, "--sessions", "2", "--mem", MEM, *arguments)
    try:
        server.wait()
        client = server.openai(timeout=300)

        def ask(clip: Clip) -> str:
            return client.audio.transcriptions.create(model="whisper-1", file=clip.path).text

        with ThreadPoolExecutor(len(clips)) as pool:
            return list(pool.map(ask, clips))
    finally:
        code, _, told = server.end(signal.SIGTERM)
        assert code == 143, told


def test_a_server(spoken: dict[str, Clip], tmp_path: Path) -> None:
    clips = [spoken["letter"], spoken["harbour"]]
    there = served(tmp_path / "there", clips, "-ngl", "all")
    assert there == served(tmp_path / "here", clips) and all(there)


# --- memory of its own ----------------------------------------------------------------------------


@pytest.fixture
def apart(device: ComputeDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Carried]:
    """The device taken for one with memory of its own; what is allocated there is counted."""
    listed = [replace(each, unified=each.kind == "cpu") for each in compute_devices()]
    monkeypatch.setattr(compute, "compute_devices", lambda: listed)
    with counting(device) as carried:
        yield carried


def loaded(**settings: Any) -> Transcriber:
    return Transcriber(EngineSettings(mem=MEM, **settings))


@pytest.mark.parametrize("layers", ["all", 16])
@pytest.mark.parametrize("kv_device", ["auto", "cpu"])
def test_the_ledger_tells_what_was_allocated(
    apart: Carried, layers: int | str, kv_device: str
) -> None:
    """Within three in a hundred, whatever lies there; and what is closed is given back."""
    before = apart.held
    with loaded(gpu_layers=layers, kv_device=kv_device, gpu_mem="2GB") as transcriber:
        parts = transcriber.runtime.ledger.device_parts()
        rows_there = layers == "all" and kv_device == "auto"
        assert ("KV pools" in parts) == rows_there
        assert ("KV pools" in transcriber.runtime.ledger.parts()) != rows_there
        assert sum(parts.values()) == pytest.approx(apart.held - before, rel=0.03)
        plan = transcriber.runtime.plan
        assert plan is not None and apart.held - before <= plan.device_bytes
    assert apart.held == before


@pytest.mark.parametrize("kv_device", ["auto", "cpu"])
def test_a_session_s_ledger_does_so_too(apart: Carried, kv_device: str) -> None:
    before = apart.held
    engine = EngineSettings(mem=MEM, gpu_layers="all", kv_device=kv_device, gpu_mem="600MB")
    with Session(engine) as session:
        parts = session.runtime.ledger.device_parts()
        assert ("KV pools" in parts) == (kv_device == "auto")
        assert sum(parts.values()) == pytest.approx(apart.held - before, rel=0.03)
        plan = session.runtime.plan
        assert plan is not None and apart.held - before <= plan.device_bytes <= 600 * MB
    assert apart.held == before


def test_auto_and_refusals_at_five_budgets(
    apart: Carried, spoken: dict[str, Clip], local_model: LocalModel
) -> None:
    """The more there is, the more goes there, and never more than that."""
    samples = spoken["letter"].samples
    layers, n_layer = [], local_model.gguf.block_count
    for mb in (200, 300, 320, 340, 600):
        before = apart.held
        with loaded(gpu_layers="auto", gpu_mem=f"{mb}MB") as transcriber:
            offload = transcriber.runtime.offload
            layers.append(n_layer + 1 if offload.takes_all else offload.n_layers)
            assert apart.held - before <= mb * MB
            assert (apart.held > before) == (layers[-1] > 0)
            if mb == 320:
                (final,) = transcriber.transcribe(samples)
                assert final.text == spoken["letter"].text
    assert layers == sorted(layers) and layers[0] == 0 and layers[-1] == n_layer + 1
    assert 0 < layers[2] < n_layer

    before = apart.held
    for mb in (20, 50, 80, 110, 140):
        with pytest.raises(MemoryBudgetError) as caught:
            loaded(gpu_layers="all", gpu_mem=f"{mb}MB").load()
        assert f'mem="{MEM} ' in caught.value.what and f'gpu_mem="{mb}MB ' in caught.value.what
    # Nothing was tried.
    assert apart.held == before
