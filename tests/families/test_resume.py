"""A conversion that is broken off is taken up where it stopped, and never leaves half a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.errors import OutputError
from edge_audiokv.families.growing import growing_folder, left
from edge_audiokv.families.steps import Steps, job_of
from edge_audiokv.families.table import read
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.models.entry import read_entry

from .windowed import Qwen2Audio

KILLING = Path(__file__).with_name("killing.py")
KEY = "0123abcd"


def steps_in(made: Path, job: str = "job") -> Steps:
    return Steps(made, job, lambda *_: None)


def write(path: Path, text: str = "x") -> tuple[Path]:
    path.write_text(text)
    return (path,)


@pytest.mark.slow
@pytest.mark.integration
def test_whatever_phase_it_is_killed_in_it_goes_on(tmp_path: Path) -> None:
    checkpoint = Qwen2Audio(tmp_path / "checkpoint").folder
    target = tmp_path / "work" / "model"
    target.parent.mkdir()
    first = {"llm_type": "Q4_K_M", "encoder_type": "int8"}
    options = {"llm_type": "Q4_K_M", "encoder_type": "f32"}
    runs: list[tuple[str, str, dict[str, str]]] = [
        ("kill", "compare the encoder", first),
        ("kill", "write the encoder", options),
        ("kill", "compare the encoder", options),
        ("interrupt", "write the LLM", options),
        ("kill", "quantise to Q4_K_M", options),
        ("kill", "check", options),
        ("go on", "", options),
    ]
    command = [sys.executable, str(KILLING), str(checkpoint), str(target), json.dumps(runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    ran: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [run["made"] for run in ran] == [False] * 6 + [True]
    assert [run["code"] for run in ran] == [-9, -9, -9, 130, -9, -9, 0]
    assert [run["done"] for run in ran] == [
        ["encoder"],
        [],  # of another type: the first is gone
        ["encoder"],
        ["encoder"],
        ["encoder", "middle"],
        ["encoder", "llm"],
        [],
    ]
    assert all(len(run["left"]) == 1 for run in ran[:-1]) and ran[-1]["left"] == []
    assert ran[0]["left"] != ran[1]["left"] == ran[3]["left"] == ran[5]["left"]
    # Nothing that was done is done again.
    assert "write the encoder" in ran[2]["phases"]
    assert not any("write the encoder" in run["phases"] for run in ran[3:])
    assert "compare the encoder" in ran[3]["phases"]
    assert "write the LLM" in ran[4]["phases"] and "write the LLM" not in ran[5]["phases"]
    assert "quantise to Q4_K_M" not in ran[6]["phases"]
    names = {"encoder.onnx", "llm.Q4_K_M.gguf", "model.toml"}
    assert {path.name for path in target.iterdir()} == names
    for file in read_entry(target / "model.toml").files:
        assert file.sha256 == file_sha256(target / file.name)
    assert sorted(path.name for path in target.parent.iterdir()) == ["model", "phases"]


def test_what_is_kept_is_whole_and_of_the_same_job(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt), growing_folder(target, KEY) as made:
        steps = steps_in(made)
        steps("one", lambda: write(made / "one"))
        steps.note("one", 0.5)
        steps("two", lambda: write(made / "two"))
        write(made / "three")
        raise KeyboardInterrupt
    assert left(target) == tmp_path / f".model.{KEY}.part" and not target.exists()
    with growing_folder(tmp_path / "model.b", KEY):
        pass
    with pytest.raises(KeyboardInterrupt), growing_folder(target, KEY) as made:
        # Of nobody's step.
        assert [path.name for path in sorted(made.iterdir())] == ["one", "three", "two"]
        steps = steps_in(made)
        assert [path.name for path in sorted(made.iterdir())] == ["one", "two"]
        assert steps.fact("one") == 0.5 and set(steps.hashes) == {"one", "two"}
        steps("one", lambda: pytest.fail("it is done"))
        write(made / "two", "y")
        raise KeyboardInterrupt
    with growing_folder(target, KEY) as made:
        steps = steps_in(made)
        assert [path.name for path in made.iterdir()] == ["one"]
        assert set(steps_in(made, "another job").hashes) == set()
        assert list(made.iterdir()) == []
    assert left(target) is None and target.is_dir()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"job": "job", "steps": {"a": 1}}'])
def test_a_journal_that_is_damaged_is_nothing_done(tmp_path: Path, text: str) -> None:
    with growing_folder(tmp_path / "model", KEY) as made:
        write(made / "one")
        write(made.parent / "done.json", text)
        assert steps_in(made).hashes == {} and list(made.iterdir()) == []


def test_what_lies_outside_is_no_file_of_a_step(tmp_path: Path) -> None:
    write(tmp_path / "mine")
    with growing_folder(tmp_path / "model", KEY) as made:
        digest = file_sha256(tmp_path / "mine")
        (made / "link").symlink_to(tmp_path / "mine")
        files = {"../../mine": digest, "link": digest}
        done = {"job": "job", "steps": {"a": {"files": files}}}
        write(made.parent / "done.json", json.dumps(done))
        assert steps_in(made).hashes == {}
    assert (tmp_path / "mine").read_text() == "x"


def test_two_do_not_make_the_same_folder_at_once(tmp_path: Path) -> None:
    with growing_folder(tmp_path / "model", KEY):
        with (
            pytest.raises(OutputError, match="Another process is making"),
            growing_folder(tmp_path / "model", KEY),
        ):
            pass
        assert (tmp_path / f".model.{KEY}.part").is_dir()
    (tmp_path / f".other.{KEY}.part").symlink_to(tmp_path / "model")
    with (
        pytest.raises(OutputError, match=r"part is not ours\. Remove it"),
        growing_folder(tmp_path / "other", KEY),
    ):
        pass


def test_after_an_error_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError), growing_folder(tmp_path / "model", KEY) as made:
        steps_in(made)("one", lambda: write(made / "one"))
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_another_input_is_another_job(tmp_path: Path) -> None:
    folder = Qwen2Audio(tmp_path / "checkpoint").folder
    plan = read(folder)
    job = job_of(plan, llm_type="F16")
    assert job_of(plan, llm_type="F16") == job != job_of(plan, llm_type="Q8_0")
    (folder / "README.md").write_text("read for its licence at the end")
    assert job_of(plan, llm_type="F16") == job
    status = (folder / "model.safetensors").stat()
    os.utime(folder / "model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    later = job_of(plan, llm_type="F16")
    assert later != job
    (folder / "tokenizer_config.json").write_text("{}")
    assert job_of(plan, llm_type="F16") not in (job, later)
