"""Options about words: times, subtitles, language."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from edge_audiokv.cli.options import engine_options, fit_format, result_options, settings_from
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.output import CueRules


def fitted(*args: str) -> tuple[EngineSettings, dict[str, object]]:
    found: list[tuple[EngineSettings, dict[str, object]]] = []

    @click.command()
    @engine_options
    @result_options
    def hear(format_name: str, output: str, **values: object) -> None:
        found.append(fit_format(format_name, settings_from(values), values))

    CliRunner().invoke(hear, args, standalone_mode=False, catch_exceptions=False)
    return found[0]


def test_words_are_reckoned_only_for_who_needs_them() -> None:
    assert fitted() == (EngineSettings(), {})
    settings, writing = fitted("--word-timestamps", "-f", "jsonl", "--language", "en")
    assert settings.word_timestamps and settings.language == "en" and writing == {}
    settings, writing = fitted("-f", "vtt")
    assert settings.word_timestamps and writing == {"rules": CueRules()}


def test_subtitle_options_reach_the_rules() -> None:
    _, writing = fitted(
        "-f", "srt", "--max-line-chars", "30", "--max-lines", "1", "--max-cue-s", "5"
    )
    assert writing == {"rules": CueRules(max_line_chars=30, max_lines=1, max_cue_s=5.0)}


@pytest.mark.integration
def test_word_times_in_a_file_of_two_clips(call, spoken) -> None:
    clips = spoken["garden"].path, spoken["letter"].path
    ran = call("transcribe", *clips, "--word-timestamps", "-f", "jsonl", "-q")
    assert (ran.code, ran.err) == (0, "")
    first, second = (json.loads(line) for line in ran.out.splitlines())
    for final in (first, second):
        assert " ".join(word["text"] for word in final["words"]) == final["text"]
        assert final["start_s"] <= final["words"][0]["start_s"]
        assert final["words"][-1]["end_s"] <= final["end_s"]
        assert 0.5 < final["confidence"] <= 1
    # Times run on from file to file, those of words as well.
    assert second["words"][0]["start_s"] > spoken["garden"].duration_s


@pytest.mark.integration
def test_short_lines_on_request(call, spoken) -> None:
    ran = call("transcribe", spoken["garden"].path, "-f", "srt", "-q", "--max-lines", "1",
               "--max-line-chars", "20")  # fmt: skip
    blocks = [block.splitlines() for block in ran.out.strip().split("\n\n")]
    assert len(blocks) >= 3
    assert all(len(block) == 3 and len(block[2]) <= 20 for block in blocks)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["transcribe", "listen"])
def test_a_language_that_the_model_does_not_list_is_refused(call, spoken, name) -> None:
    ran = call(name, spoken["garden"].path, "--language", "de")
    assert ran.code == 4
    assert "does not know German (de); it lists English (en)" in ran.complaint


@pytest.mark.integration
def test_another_language_is_doubted_on_stderr(call, spoken) -> None:
    path = spoken["garden"].path.parent / "languages" / "mandarin.ogg"
    ran = call("transcribe", path)
    assert ran.code == 0 and ran.out
    warnings = [line for line in ran.err.splitlines() if "hardly sounds like English" in line]
    assert len(warnings) == 1 and warnings[0].startswith("warning: ")
