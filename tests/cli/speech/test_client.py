"""`edge-audiokv client` against a server whose model is scripted, as hotkeys and scripts use it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_audiokv.cli.speech.unit import unit_text
from edge_audiokv.errors import DeviceError
from edge_audiokv.events import DeviceLost, Overflow, Warned
from edge_audiokv.server.events.place import default_path
from tests.server.house import Listening, starting
from tests.server.scripted import ScriptedEngine

TEXT = "first words then more"


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def running(engine, tmp_path, monkeypatch) -> Iterator[Listening]:
    for make in starting(Listening, engine, tmp_path):
        made = make()
        monkeypatch.setenv("EDGE_AUDIOKV_CLIENT_SOCKET", str(made.path))
        yield made


@pytest.fixture
def client(call, running) -> Callable[..., object]:
    return lambda *args: call("client", *args)


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_key_for_both(client, engine) -> None:
    begun = client("toggle", "-d", "USB")
    assert (begun.code, begun.out) == (0, "") and "a voice" in begun.err
    assert engine.begun.wait(10)
    ended = client("toggle")
    assert (ended.code, ended.out, ended.err) == (0, TEXT + "\n", "")


def test_scripts_get_lines(client, engine, running) -> None:
    begun = json.loads(client("toggle", "--format", "jsonl").out)
    assert begun["type"] == "reply" and begun["state"] == "listening"
    assert engine.begun.wait(10)
    asked = json.loads(client("ask", "what is it?", "-f", "jsonl").out)
    assert asked["text"] == "a boat on the water"
    assert json.loads(client("status", "-f", "jsonl").out)["device"] == "a voice"
    assert json.loads(client("stop", "-f", "jsonl").out)["text"] == TEXT


def test_people_get_text(client, engine) -> None:
    assert client("status").out.splitlines()[0] == "idle"
    client("toggle", "-q")
    assert engine.begun.wait(10)
    status = client("status").out
    assert "listening to a voice, 00:00:0" in status and "scripted, 500 B of --mem" in status
    assert client("ask", "what is it?").out == "a boat on the water\n"
    assert client("stop").out == TEXT + "\n"


def test_a_warning_of_the_servers_is_told(client, running, monkeypatch) -> None:
    running.worker._broken = True
    assert "not ready" in client("status").err
    running.worker._broken = False


def test_refusals_have_their_own_codes(client, running, engine) -> None:
    ran = client("stop")
    assert ran.code == 1 and "client listen" in ran.complaint
    assert client("ask", "what?").code == 1
    running.source = DeviceError("No microphone was found.", cure="Plug one in.")
    ran = client("toggle")
    assert ran.code == 7 and "Plug one in" in ran.complaint
    ran = client("listen")
    assert ran.code == 7 and "Plug one in" in ran.complaint


def test_no_server_is_told_with_what_to_run(call, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("EDGE_AUDIOKV_CLIENT_SOCKET", raising=False)
    for words in (["status"], ["toggle"], ["tail"], ["listen"]):
        ran = call("client", *words)
        assert ran.code == 1 and "edge-audiokv serve --events" in ran.complaint
        assert str(default_path()) in ran.complaint
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(default_path()))
    assert "serve --events" in call("client", "status").complaint
    assert "--socket" in call("client", "--socket", tmp_path / ("x" * 200), "status").complaint


def test_the_client_wants_no_extra(command, running) -> None:
    """Nor numpy, which takes a tenth of a second that a key should not wait for."""
    hidden = ("starlette", "uvicorn", "wyoming", "h11", "sounddevice", "numpy", "rich")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({hidden!r}))
sys.argv = ["edge-audiokv", "client", "--socket", {str(running.path)!r}, "status"]
from edge_audiokv.cli.start import start
start()
"""
    ran = command.python("-c", program)
    assert ran.code == 0 and ran.out.startswith("idle"), ran


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"[]\n", b"\xff\n", b'{"type": "final"}\n' * 3]
)
def test_what_is_no_server_of_ours(call, tmp_path, said) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        bound.listen()

        def answer() -> None:
            with suppress(OSError):
                taken, _ = bound.accept()
                with taken:
                    taken.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        ran = call("client", "--socket", tmp_path / "s", "status")
        thread.join(10)
    assert ran.code == 1 and len(ran.err.splitlines()) == 1 and ran.complaint


def test_a_server_that_does_not_answer(call, tmp_path, monkeypatch) -> None:
    from edge_audiokv.server.events import client as module

    monkeypatch.setattr(
        "edge_audiokv.cli.speech.client.Client",
        lambda path, wait_s: module.Client(path, answer_s=0.2),
    )
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        bound.listen()
        ran = call("client", "--socket", tmp_path / "s", "status")
    assert ran.code == 1 and "loading" in ran.complaint


def test_a_server_that_is_just_starting_is_waited_for(call, tmp_path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as bound:

        def start() -> None:
            bound.bind(str(path))
            bound.listen()
            taken, _ = bound.accept()
            with taken:
                taken.sendall(b'{"type": "reply", "id": 1, "text": "what was said"}\n')
                taken.recv(1000)

        later = threading.Timer(0.3, start)
        later.start()
        ran = call("client", "--socket", path, "--wait", "20", "stop")
        later.join(10)
    assert (ran.code, ran.out) == (0, "what was said\n"), ran
    path.unlink()
    started = time.monotonic()
    ran = call("client", "--socket", path, "--wait", "0.3", "stop")
    assert ran.code == 1 and "No server is listening" in ran.complaint
    assert "--wait" in ran.complaint and time.monotonic() - started >= 0.3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_listen_until_a_signal_then_what_was_said(command, running, engine, number) -> None:
    process = command.start("client", "--socket", running.path, "listen")
    assert engine.begun.wait(20)
    wait_for(lambda: engine.heard_s > 0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert out == "first words\nthen more\n"
    assert "listening to a voice" in err and "Traceback" not in err
    wait_for(lambda: not running.worker.taken)


def test_listen_ends_when_somebody_else_stops_it(command, client, running, engine) -> None:
    process = command.start("client", "--socket", running.path, "listen", "--format", "jsonl")
    tail = command.start("client", "--socket", running.path, "tail")
    assert engine.begun.wait(20)
    wait_for(lambda: len(running.door._tasks) == 2)
    assert client("stop").out == TEXT + "\n"
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert kinds == ["speech-started", "partial", "final", "final", "session-ended"]
    # Who looks on goes on; the server's end is the end.
    assert tail.poll() is None
    running.stop()
    out, err = tail.communicate(timeout=20)
    assert (tail.returncode, out) == (0, "first words\nthen more\n")
    assert "ended" in err


def test_what_happens_to_the_microphone_is_told_beside_the_text(command, client, engine, running):
    engine.soon.extend([Warned(0.1, "it is loud."), DeviceLost(0.2, "USB"), Overflow(0.3, 16)])
    process = command.start("client", "--socket", running.path, "listen")
    assert engine.begun.wait(20)
    wait_for(lambda: not engine.soon)
    client("stop")
    out, err = process.communicate(timeout=20)
    assert out == "first words\nthen more\n"
    assert "loud" in err and "microphone lost: USB" in err and "16 samples" in err


def test_a_server_that_stops_tells_a_listener_the_rest(command, running, engine) -> None:
    process = command.start("client", "--socket", running.path, "listen", "-q")
    assert engine.begun.wait(20)
    running.stop()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "first words\nthen more\n", "")


def test_tail_ends_quietly_by_a_key_or_with_its_reader(command, client, running) -> None:
    process = command.start("client", "--socket", running.path, "tail")
    wait_for(lambda: len(running.door._tasks) == 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    wait_for(lambda: not running.door._tasks)
    process = command.start("client", "--socket", running.path, "tail", "-f", "jsonl")
    assert process.stdout is not None
    wait_for(lambda: len(running.door._tasks) == 1)
    process.stdout.close()
    client("toggle")
    assert process.wait(20) == 0
    assert process.stderr is not None and process.stderr.read() == ""
    process.stderr.close()


# --- the unit -------------------------------------------------------------------------------------


def read_unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_a_unit_serves_with_what_was_given(call, monkeypatch) -> None:
    monkeypatch.delenv("EDGE_AUDIOKV_CACHE", raising=False)
    ran = call("client", "unit", "--", "--mem", "1GB", "--port", "8090")
    assert ran.code == 0
    unit = read_unit(ran.out)
    words = shlex.split(unit["Service"]["ExecStart"])
    assert Path(words[0]).is_absolute() and os.access(words[0], os.X_OK)
    assert words[-6:] == ["serve", "--mem", "1GB", "--port", "8090", "--events"]
    assert unit["Service"]["Restart"] == "on-failure"
    assert "143" in unit["Service"]["SuccessExitStatus"].split()
    assert unit["Install"]["WantedBy"] == "default.target"
    # What would keep it from a microphone, or from its cache.
    hidden = re.compile("^(Private|Protect|ReadOnly|Inaccessible|Device|Dynamic|Memory)")
    assert not [name for name in unit["Service"] if hidden.match(name)]
    assert "Environment" not in unit["Service"]


def test_what_a_unit_runs_is_this_command(monkeypatch, tmp_path) -> None:
    script = tmp_path / "edge-audiokv"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for called in ("./edge-audiokv", str(script)):
        monkeypatch.setattr(sys, "argv", [called, "client", "unit"])
        assert f"\nExecStart={script} serve --events\n" in unit_text([])
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", ["edge-audiokv"])
    assert f"\nExecStart={script} serve --events\n" in unit_text([])
    monkeypatch.setattr(sys, "argv", ["/somewhere/edge_audiokv/__main__.py"])
    assert f"\nExecStart={sys.executable} -P -m edge_audiokv serve --events\n" in unit_text([])


def test_what_is_given_is_quoted_and_understood(call, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "a cache"))
    model = 'a $model with 100% "quotes" and \\'
    text = unit_text(["-m", model, "--events", "/run/user/1/s.sock"])
    assert text.count("--events") == 1
    start = read_unit(text)["Service"]["ExecStart"]
    words = shlex.split(start.replace("%%", "%").replace("$$", "$"))
    assert words[-4:] == ["-m", model, "--events", "/run/user/1/s.sock"]
    assert f'Environment="EDGE_AUDIOKV_CACHE={tmp_path}/a cache"' in text
    ran = call("client", "unit", "--", "--no-such-option")
    assert ran.code == 2 and "--no-such-option" in ran.complaint
    assert call("client", "unit", "--", "-m", "two\nlines").code == 1


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="it verifies, where systemd is; .ci/run installs it",
)
def test_systemd_understands_it(tmp_path) -> None:
    path = tmp_path / "edge-audiokv.service"
    path.write_text(unit_text(["--mem", "1GB"]))
    ran = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in ran.stderr.splitlines() if path.name in line]
    assert ran.returncode == 0 and not said, ran.stderr
