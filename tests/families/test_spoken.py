"""`--language` and `--translate` of a converted model: its family's own way of being told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.engine.finals.language import check_language
from edge_audiokv.engine.prompt import PromptTemplate
from edge_audiokv.models.entry import read_entry
from edge_audiokv.native.model import Model

from .conftest import Case

pytestmark = pytest.mark.integration
LETTER = Path(__file__).parents[1] / "data" / "letter.flac"


def test_qwen3_asr_is_told_by_the_names_of_its_processor(all_made: dict[str, Case]) -> None:
    from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME

    entry = read_entry(all_made["qwen3_asr"].folder / "model.toml")
    assert len(entry.languages) == len(LANGUAGE_CODE_TO_NAME) == 30
    for code, name in LANGUAGE_CODE_TO_NAME.items():
        for text in (code, name):
            check_language(text, entry)
            told = PromptTemplate.of(entry.prompt, language=text)
            assert told.after_audio.endswith(f"assistant\nlanguage {name}<asr_text>")
            # The marker is there already: the answer is all that is written.
            assert told.answer_after == ""
    free = PromptTemplate.of(entry.prompt)
    assert free.after_audio.endswith("assistant\n") and free.answer_after == "<asr_text>"


def test_voxtral_is_told_by_codes_and_still_answers(all_made: dict[str, Case]) -> None:
    case = all_made["voxtral"]
    prompt = read_entry(case.folder / "model.toml").prompt
    told, free = PromptTemplate.of(prompt, language="German"), PromptTemplate.of(prompt)
    assert told.before_audio == free.before_audio == "<s>[INST][BEGIN_AUDIO]"
    # Mistral's transcription request, as mistral-common writes it.
    assert told.after_audio == "[/INST]lang:de[TRANSCRIBE]"
    assert told.asking == free.asking == "[INST]{question}[/INST]"


@pytest.mark.parametrize("family", ["qwen3_asr", "voxtral"])
def test_the_command_takes_a_language_that_the_family_knows(
    all_made: dict[str, Case], call: Any, family: str
) -> None:
    folder = all_made[family].folder
    done = call("transcribe", LETTER, "-m", folder, "-t", "1", "--language", "de", "-f", "json")
    assert done.code == 0, done.err
    assert '"language": "de"' in done.out
    done = call("transcribe", LETTER, "-m", folder, "--language", "xx")
    assert done.code == 4 and "does not know xx" in done.complaint


def test_qwen3_asr_is_told_hotwords_as_its_system_text(
    all_made: dict[str, Case], call: Any
) -> None:
    folder = all_made["qwen3_asr"].folder
    prompt, words = read_entry(folder / "model.toml").prompt, ("Argyle", "van Dykvelt")
    told, free = PromptTemplate.of(prompt, hotwords=words), PromptTemplate.of(prompt)
    assert free.before_audio.startswith("<|im_start|>system\n<|im_end|>\n<|im_start|>user")
    assert told.before_audio == free.before_audio.replace(
        "system\n", "system\nArgyle, van Dykvelt", 1
    )
    spoken = PromptTemplate.of(prompt, language="de", hotwords=words)
    assert spoken.before_audio == told.before_audio and "German" in spoken.after_audio
    options = ("-m", folder, "-t", "1", "--hotwords")
    done = call("transcribe", LETTER, *options, ",".join(words), "-f", "json")
    assert done.code == 0, done.err
    done = call("transcribe", LETTER, *options, "<|im_end|>x")
    assert done.code == 3 and "<|im_end|>x" in done.complaint
    done = call("transcribe", LETTER, *options, ",".join(f"Argyle {i}" for i in range(60)))
    assert done.code == 3 and "60 hotwords" in done.complaint
    done = call("transcribe", LETTER, "-m", all_made["voxtral"].folder, "--hotwords", "Argyle")
    assert done.code == 3 and "Nothing reads hotwords" in done.complaint


def test_translations_are_asked_for_as_the_makers_do(all_made: dict[str, Case]) -> None:
    wished = {}
    for name, case in all_made.items():
        prompt = read_entry(case.folder / "model.toml").prompt
        if prompt.translate:
            wished[name] = PromptTemplate.of(prompt, language="de", translate="fr")
    assert {name: template.question for name, template in wished.items()} == {
        "granite_speech": "translate the speech to French.",
        "qwen3_omni": "Listen to the provided German speech and produce a translation in French"
        " text.",
    }
    # The longer question has room.
    for name, template in wished.items():
        with Model(all_made[name].llm) as model:
            template.check_length(model)


@pytest.mark.parametrize(
    ("family", "told", "refusal"),
    [
        ("granite_speech", (), ""),
        ("qwen3_omni", ("--language", "de"), ""),
        ("qwen3_omni", (), "translates what it is told the language of. Say what is spoken, too:"),
        ("voxtral", (), "no way of its own of translating to French (fr); to none."),
        ("granite_speech_plus", (), "no way of its own of translating"),
    ],
)
def test_the_command_translates_where_the_family_does(
    all_made: dict[str, Case], call: Any, family: str, told: tuple[str, ...], refusal: str
) -> None:
    given = ("transcribe", LETTER, "-m", all_made[family].folder, "-t", "1", "-q", *told)
    done = call(*given, "--translate", "French")
    if refusal:
        assert done.code in (3, 4) and refusal in done.complaint
        return
    assert done.code == 0, done.err
    plain = call(*given)
    assert plain.code == 0 and plain.out != done.out
