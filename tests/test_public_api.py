"""The names that assistants use: complete, typed as documented, cheap until they work."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import edge_audiokv
from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.session_settings import EngineOptions, SessionOptions
from edge_audiokv.errors import InputError


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_all_names_are_there_sorted_and_documented() -> None:
    assert edge_audiokv.__all__ == sorted(edge_audiokv.__all__)
    assert set(edge_audiokv.__all__) <= set(dir(edge_audiokv))
    for name in edge_audiokv.__all__:
        found: Any = getattr(edge_audiokv, name)
        assert name == "__version__" or found.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Sessoin"):
        _ = edge_audiokv.Sessoin  # type: ignore[attr-defined]


def test_importing_loads_nothing_heavy() -> None:
    heavy = ("onnxruntime", "numpy", "scipy", "soundfile", "click", "rich", "asyncio")
    out = run(f"import sys, edge_audiokv; print([n for n in {heavy} if n in sys.modules])")
    assert out.strip() == "[]"


@pytest.mark.parametrize("name", ["Session", "Transcriber"])
def test_constructors_touch_no_file_and_start_no_thread(name: str) -> None:
    # In a process of its own: an audit hook stays for ever.
    out = run(
        "import sys, threading, edge_audiokv\n"
        f"make = edge_audiokv.{name}\n"
        "touched = []\n"
        "def watch(event, args):\n"
        "    if event.split('.')[0] in ('open', 'os', 'socket', 'ctypes', 'subprocess'):\n"
        "        touched.append((event, args))\n"
        "sys.addaudithook(watch)\n"
        "made = make()\n"
        "made.close(); made.close()\n"
        "found = list(touched)\n"
        "print(found, threading.active_count())\n"
    )
    assert out.strip() == "[] 1"


def test_keywords_become_settings() -> None:
    session = edge_audiokv.Session(
        model="tiny",
        mem="1GB",
        threads=2,
        context="rolling",
        wake_word="computer",
        endpoint=EndpointConfig(max_segment_s=5.0),
    )
    assert (session.engine.model, session.engine.cap_bytes) == ("tiny", 10**9)
    assert session.engine.n_threads == 2
    assert (session.settings.context, session.settings.wake_word) == ("rolling", "computer")
    assert session.settings.endpoint.max_segment_s == 5.0


def test_keywords_add_to_records() -> None:
    engine = edge_audiokv.EngineSettings(mem="3GB", type_k="q8_0")
    session = edge_audiokv.Session(engine, edge_audiokv.SessionSettings(wake_word="hey"), mem="1GB")
    assert (session.engine.mem, session.engine.type_k) == ("1GB", "q8_0")
    assert session.settings.wake_word == "hey"


def test_an_unknown_keyword_names_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"no option memory; there are: .*mem, model"):
        edge_audiokv.Session(memory="1GB")  # type: ignore[call-arg]


def test_a_transcriber_takes_the_same_keywords() -> None:
    settings = edge_audiokv.EngineSettings(mem="3GB", type_k="q8_0")
    transcriber = edge_audiokv.Transcriber(settings, mem="1GB", word_weight=0.0)
    assert transcriber.settings.cap_bytes == 10**9
    assert (transcriber.settings.type_k, transcriber.settings.word_weight) == ("q8_0", 0.0)
    with pytest.raises(TypeError, match=r"Transcriber has no option context; there are: .*mem"):
        edge_audiokv.Transcriber(context="rolling")  # type: ignore[call-arg]


def test_every_setting_is_a_typed_keyword() -> None:
    engine = {item.name for item in fields(edge_audiokv.EngineSettings)}
    session = {item.name for item in fields(edge_audiokv.SessionSettings)}
    assert set(EngineOptions.__annotations__) == engine
    assert set(SessionOptions.__annotations__) == engine | session


@pytest.mark.parametrize(
    "options",
    [{"context": "endless"}, {"partial_interval_s": -1.0}, {"report_interval_s": float("nan")}],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        edge_audiokv.Session(**options)


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """Its builds leave a device id and a queue of events in the cache folder by default."""
    unset = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir()
    code = "import edge_audiokv, onnxruntime as ort; ort.SessionOptions()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_who_wants_telemetry_keeps_it() -> None:
    code = "import os, edge_audiokv; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, kept in ((None, "1"), ("0", "0")):
        environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == kept


def test_settings_come_as_texts_too() -> None:
    settings = edge_audiokv.Session(
        kv_share="40%", mem=10**9, threads="3", branches="2", word_weight="0.5"
    ).engine
    assert (settings.kv_share, settings.cap_bytes) == (0.4, 10**9)
    assert (settings.threads, settings.branches, settings.word_weight) == (3, 2, 0.5)
    assert edge_audiokv.Transcriber(kv_share="0.25").settings.kv_share == 0.25


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kv_share": "140%"}, "kv_share: "),
        ({"kv_share": "some"}, "kv_share: "),
        ({"threads": "many"}, "threads cannot be 'many'"),
        ({"branches": "1.5"}, "branches cannot be '1.5'"),
        ({"mem": 4}, "mem: '4' is 4 bytes. Did you mean 4GB"),
        ({"mem": True}, "mem cannot be True"),
    ],
)
def test_texts_that_are_no_settings_name_the_argument(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        edge_audiokv.Session(**options)
