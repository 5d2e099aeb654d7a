"""The library speaks of arguments, the command line of its flags."""

from __future__ import annotations

import pytest

from edge_audiokv.cli.speech.transcribe import transcribe
from edge_audiokv.cli.wording import FLAGS, as_flags


def test_every_argument_is_an_option_of_that_name() -> None:
    options = {param.name: param.opts for param in transcribe.params}
    for argument, flag in FLAGS.items():
        assert flag in options[argument]


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ('Use mem="480MB" or more.', "Use --mem 480MB or more."),
        ("raise mem= or kv_share=.", "raise --mem or --kv-budget."),
        ("language= says what is spoken", "--language says what is spoken"),
        ("/tmp/mem=x.wav is no sound", "/tmp/mem=x.wav is no sound"),
        ("mem=1 stays", "mem=1 stays"),
    ],
)
def test_arguments_become_flags(said: str, typed: str) -> None:
    assert as_flags(said) == typed


def test_no_text_outside_the_command_line_names_these_flags() -> None:
    from pathlib import Path

    import edge_audiokv

    root = Path(edge_audiokv.__file__).parent
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] in ("cli", "errors.py", "eval", "train", "calibrate"):
            continue
        for flag in FLAGS.values():
            assert f"{flag} " not in path.read_text(encoding="utf-8"), (path, flag)
