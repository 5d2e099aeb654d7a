from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.errors import InputError
from edge_audiokv.train.config import load_run

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_a_run_is_read_with_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'seed = 3\n[data]\ntrain = ["a", "b"]\n[data.repeat]\na = 2\n[ctc]\nlr = 1e-3\n'
    )
    run = load_run(path)
    assert run.seed == 3 and run.data.train == ("a", "b") and run.data.repeat == {"a": 2}
    assert run.ctc.lr == 1e-3
    assert run.path("a") == tmp_path / "a"
    assert run.out_dir == tmp_path / "run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 1", "unknown settings: sede"),
        ("[ctc]\nlearning_rate = 1", r"\[ctc\] of run.toml has unknown settings: learning_rate"),
        ("seed = ", "Invalid value"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_run(path)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_run(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_runs_that_come_along_can_be_read(path: Path) -> None:
    run = load_run(path)
    assert run.data.train and run.llm.minutes > 0 and run.out_dir.parent == path.parent
