"""`edge-audiokv doctor`: facts, problems with cures, and the first problem's exit code."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import numpy as np
import pytest

# Imported before anything is replaced: doctor imports it late, and it would keep the stand-in.
import edge_audiokv.audio.live.microphone  # noqa: F401
from edge_audiokv.audio.live.portaudio import InputDevice, OnFrames
from edge_audiokv.cli.machine import checks
from edge_audiokv.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit:
        main(["doctor", *args])
    out, err = capsys.readouterr()
    assert err == "" and isinstance(exit.value.code, int)
    return exit.value.code, out


def facts_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    (check,) = (check for check in document["checks"] if check["name"] == name)
    found: dict[str, Any] = check["facts"]
    return found


@pytest.mark.integration
def test_a_machine_where_all_is_well(command) -> None:
    # In a process of its own: what these tests hold already would count as the interpreter.
    ran = command("doctor", "--no-mic", "--json", "--threads", "1", "--mem", "4GB")
    document = json.loads(ran.out)
    assert ran.code == document["exit_code"] == 0, ran
    assert all(check["ok"] for check in document["checks"])
    assert "llama" in facts_of(document, "native library")["llama.cpp"]
    assert "CPU" in facts_of(document, "native library")["features"]
    assert "CPUExecutionProvider" in facts_of(document, "onnxruntime")["providers"]
    assert len(facts_of(document, "model")["verified"]) == 16
    memory = facts_of(document, "memory")
    assert {"weights", "encoder", "KV pools"} <= set(memory["parts"])
    assert list(memory) == [
        *("this machine", "smallest --mem", "--mem for its best text", "--mem"),
        *("parts", "sum", "peak RSS"),
    ]
    least, best = memory["smallest --mem"], memory["--mem for its best text"]
    assert list(least) == list(best) and len(least) == 3
    # Starts differ by a little, and a refusal may name that: so tens of megabytes are told.
    assert all(cap.endswith("0MB") for cap in (*least.values(), *best.values()))
    for command_name, cap in least.items():
        assert 50 < int(cap.removesuffix("MB")) < int(best[command_name].removesuffix("MB")) < 1000
    assert facts_of(document, "settings")["--mem"] == "4GB (command line)"
    assert facts_of(document, "settings")["--model"] == "smollm2-audio (default)"


@pytest.mark.integration
def test_the_smallest_cap_is_one_that_every_command_takes(command, spoken) -> None:
    ran = command("doctor", "--no-mic", "--json", "--threads", "1")
    smallest = facts_of(json.loads(ran.out), "memory")["smallest --mem"]
    for name, fact in (("transcribe", "to transcribe"), ("listen", "to listen to files, ask")):
        ran = command(name, spoken["letter"].path, "--threads", "1", "--mem", smallest[fact])
        assert ran.code == 0 and "wrote" in ran.out + ran.err, ran


def test_settings_are_shown_as_they_are_typed(capsys) -> None:
    _, out = run(capsys, "--no-mic", "-m", "no-such-model", "--kv-budget", "0.415", "--json")
    assert facts_of(json.loads(out), "settings")["--kv-budget"] == "41.5% (command line)"
    _, out = run(capsys, "--no-mic", "-m", "no-such-model")
    assert re.search(r"--kv-budget +100% \(default\)", out)


@pytest.mark.integration
def test_a_cap_that_is_too_small_shows_the_sum_and_what_would_do(capsys) -> None:
    code, out = run(capsys, "--no-mic", "--mem", "100MB")
    assert code == 6
    assert "PROBLEM memory" in out and "smallest --mem" in out
    # One figure for one thing: what stands in the table is what would do.
    smallest = re.findall(r"^ +(to .+?)  +(\d+MB)\n", out.partition("best text")[0], re.MULTILINE)
    assert len(smallest) == 3
    for name, cap in smallest:
        assert f"{cap} {name}" in out.partition("-> Use --mem")[2]


def test_an_unknown_model_is_the_first_problem_and_memory_is_not_tried(capsys) -> None:
    code, out = run(capsys, "--no-mic", "--model", "no-such-model", "--json")
    document = json.loads(out)
    assert code == 4
    assert "memory" not in [check["name"] for check in document["checks"]]
    (check,) = (check for check in document["checks"] if check["name"] == "model")
    assert check["cure"]


def test_a_missing_native_library_is_told_with_its_cure(capsys, monkeypatch, tmp_path) -> None:
    from edge_audiokv.native import library

    monkeypatch.setenv("EDGE_AUDIOKV_LIB_DIR", str(tmp_path))
    library.load.cache_clear()
    try:
        code, out = run(capsys, "--no-mic", "--model", "no-such-model")
    finally:
        monkeypatch.undo()
        library.load.cache_clear()
    assert code == 8
    assert "PROBLEM native library" in out and "EDGE_AUDIOKV_LIB_DIR" in out


def test_a_misspelt_variable_is_found(monkeypatch, capsys) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_TRANSCRIBE_MEN", "1GB")
    code, out = run(capsys, "--no-mic", "--model", "no-such-model")
    assert code == 3
    assert "Did you mean EDGE_AUDIOKV_TRANSCRIBE_MEM?" in out
    # A name as long as that still stands apart from its value.
    assert "EDGE_AUDIOKV_TRANSCRIBE_MEN  1GB" in out


def test_variables_that_commands_read_are_fine(monkeypatch) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_TRANSCRIBE_MEM", "1GB")
    known = ["EDGE_AUDIOKV_TRANSCRIBE_MEM"]
    check = checks.run_check("environment", lambda facts: checks.environment(facts, known))
    assert check.problem is None
    assert check.facts["EDGE_AUDIOKV_TRANSCRIBE_MEM"] == "1GB"


def test_an_absent_provider_is_told() -> None:
    check = checks.run_check("onnxruntime", lambda facts: checks.onnxruntime(facts, "coreml"))
    if sys.platform != "darwin":
        assert check.problem is not None and check.problem.exit_code == 11


class Stream:
    active = True

    def close(self) -> None:
        pass


class Desk:
    """A sound system with one microphone, or none, that gives `level` at once."""

    def __init__(self, level: float, *, present: bool = True) -> None:
        self.level, self.present = level, present

    def __call__(self) -> Desk:
        return self

    def inputs(self) -> list[InputDevice]:
        return [InputDevice(0, "Desk mic", "ALSA", 2, 48_000, True)] if self.present else []

    def start(self, device: InputDevice, channels: int, on_frames: OnFrames) -> Stream:
        on_frames(np.full((48_000, channels), self.level, np.float32), False)
        return Stream()

    def restart(self) -> None:
        pass


@pytest.mark.parametrize(
    ("desk", "words"),
    [(Desk(0.0, present=False), "Plug one in"), (Desk(0.0), "muted")],
    ids=["no device", "silence"],
)
def test_what_is_wrong_with_the_microphone(monkeypatch, desk, words) -> None:
    monkeypatch.setattr("edge_audiokv.audio.live.portaudio.PortAudio", desk)
    check = checks.run_check("microphone", checks.microphone)
    assert check.problem is not None and check.problem.exit_code == 7
    assert words in check.problem.cure


def test_a_missing_package_for_microphones_has_its_own_code(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    check = checks.run_check("microphone", checks.microphone)
    assert check.problem is not None and check.problem.exit_code == 11
    assert "pip install" in check.problem.cure


def test_a_microphone_that_works_shows_its_level(monkeypatch) -> None:
    monkeypatch.setattr("edge_audiokv.audio.live.portaudio.PortAudio", Desk(0.1))
    check = checks.run_check("microphone", checks.microphone)
    assert check.problem is None
    assert "Desk mic, 48000 Hz" in check.facts["default"]
    assert "-20 dBFS" in check.facts["level"] and "####" in check.facts["level"]
