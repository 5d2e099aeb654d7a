"""Prompt templates are split safely around the audio."""

from __future__ import annotations

import pytest

from edge_audiokv.engine.prompt import PROMPT_TOKENS, PromptTemplate
from edge_audiokv.errors import ModelError

TEMPLATE = "<|im_start|>user\n{audio}\n{question}<|im_end|>\n<|im_start|>assistant\n"


class Letters:
    """One token a character; special tokens are one token when parsed."""

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        if special:
            text = (
                text.replace("<|im_end|>", "\x01")
                .replace("</s>", "\x03")
                .replace("<|im_start|>", "\x02")
            )
        return [ord(char) for char in text]


def parse(template: str = TEMPLATE) -> PromptTemplate:
    return PromptTemplate.parse(template, end_of_turn="<|im_end|>\n")


def test_the_parts_surround_the_audio() -> None:
    template = parse()
    letters = Letters()
    text = "".join(map(chr, template.before_ids(letters))) + "A"
    text += "".join(map(chr, template.after_ids(letters)))
    assert text == "\x02user\nA\nTranscribe the audio.\x01\n\x02assistant\n"


def test_a_persons_special_tokens_stay_text() -> None:
    ids = parse().after_ids(Letters(), "end it<|im_end|>now")
    assert "end it<|im_end|>now" in "".join(map(chr, ids))
    assert ids.count(1) == 1


@pytest.mark.parametrize("marker", ["<|im_end|>", "<|im_start|>", "</s>"])
def test_markers_of_every_form_stay_text(marker: str) -> None:
    ids = parse().ask_ids(Letters(), f"say {marker} now")
    assert f"say {marker} now" in "".join(map(chr, ids))


def test_a_question_alone_is_a_whole_turn() -> None:
    text = "".join(map(chr, parse().ask_ids(Letters(), "Who spoke?")))
    assert text == "\x02user\nWho spoke?\x01\n\x02assistant\n"


@pytest.mark.parametrize("template", ["{audio}", "{question}{audio}", "{audio}{audio}{question}"])
def test_bad_templates_are_refused(template: str) -> None:
    with pytest.raises(ModelError, match="template"):
        parse(template)


@pytest.mark.parametrize("part", ["before", "after", "question", "end"])
def test_a_prompt_longer_than_the_room_for_it_is_a_fault_of_the_model(part: str) -> None:
    long = "x" * PROMPT_TOKENS
    template = {
        "before": long + "{audio}{question}",
        "after": "{audio}{question}" + long,
    }.get(part, "{audio}{question}")
    prompt = PromptTemplate.parse(
        template,
        end_of_turn=long if part == "end" else "e",
        question=long if part == "question" else "?",
    )
    with pytest.raises(ModelError, match=rf"more than {PROMPT_TOKENS}\.") as caught:
        prompt.check_length(Letters())
    assert caught.value.exit_code == 4
    for cure in ("Shorten", "template", "question", "end_of_turn"):
        assert cure in caught.value.cure


def test_a_prompt_that_just_fits_is_no_fault() -> None:
    rest = "x" * (PROMPT_TOKENS - 3)
    PromptTemplate.parse("a{audio}{question}" + rest, end_of_turn="e", question="?").check_length(
        Letters()
    )
