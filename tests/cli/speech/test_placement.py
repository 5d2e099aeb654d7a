"""What `--placement` says reaches the session."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.errors import InputError
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT, PLACEMENTS

CLIP = str(Path(__file__).parents[2] / "data" / "letter.flac")
COMMANDS = {
    "edge_audiokv.cli.speech.ask": ["ask", CLIP, "Who?"],
    "edge_audiokv.cli.speech.listen": ["listen", CLIP],
    "edge_audiokv.cli.evaluate.soak": [
        "soak",
        "--manifest",
        str(Path(__file__).parents[2] / "data" / "manifest.jsonl"),
        "--hours",
        "0.02",
    ],
}


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("placement", [None, *PLACEMENTS])
def test_it_reaches_the_session(
    module: str, placement: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[SessionSettings] = []

    def session(engine: object, settings: SessionSettings, **_: object) -> None:
        given.append(settings)
        raise InputError("enough")

    found = import_module(module)
    name, *arguments = COMMANDS[module]
    monkeypatch.setattr(found, "Session", session)
    options = ["--placement", placement] if placement else []
    result = CliRunner().invoke(getattr(found, name), [*arguments, *options])
    assert "enough" in str(result.exception), result.output
    assert [settings.placement for settings in given] == [placement or DEFAULT_PLACEMENT]


def test_an_unknown_one_is_a_wrong_option() -> None:
    found = import_module("edge_audiokv.cli.speech.listen")
    result = CliRunner().invoke(found.listen, [CLIP, "--placement", "turn"])
    assert result.exit_code == 2 and "order" in result.output and "log" in result.output
