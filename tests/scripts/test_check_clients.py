"""What scripts/check_clients.py makes of what clients say; those are too large to bring here."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "check_clients.py"))
PACKAGES, check, environment = (SCRIPT[name] for name in ("PACKAGES", "check", "environment"))

MEANT = "She opened the door."


def python(folder: Path, text: str, code: int = 0) -> Path:
    """A Python that says `text` whatever it is to run."""
    made = folder / "python"
    made.write_text(f"#!{sys.executable}\nprint({text!r})\nraise SystemExit({code})\n")
    made.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("said", "code", "fine"),
    [
        (["she opened", "the door"], 0, True),
        (["she opened the"], 0, True),
        (["she the"], 0, False),
        ([], 0, False),
        (["she opened the door"], 1, False),
    ],
)
def test_three_words_in_four_are_enough(tmp_path, said, code, fine) -> None:
    told = json.dumps({"way": "live", "texts": said})
    made = python(tmp_path, told, code)
    assert check("livekit", made, "http://x", tmp_path / "a.wav", MEANT) is fine


def test_a_client_that_says_nothing_is_not_fine(tmp_path) -> None:
    made = python(tmp_path, "")
    assert check("pipecat", made, "http://x", tmp_path / "a.wav", MEANT) is False


def test_each_has_a_client_and_an_environment_is_made_once(tmp_path) -> None:
    clients = Path(__file__).parents[2] / "scripts/clients"
    assert {path.name for path in clients.glob("*.py")} == {f"{name}_stt.py" for name in PACKAGES}
    (tmp_path / "made").touch()
    assert environment(tmp_path, "nothing-of-that-name") == tmp_path / "bin/python"
