"""Prompt templates are split safely around the audio."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.engine.prompt import PromptTemplate, digit_rows
from edge_audiokv.errors import InputError, ModelError, UnfitModelError
from edge_audiokv.models.prompt import PROMPT_TOKENS, Prompt
from edge_audiokv.models.token_rule import TokenRule

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
    return PromptTemplate.of(Prompt(template, "<|im_end|>\n", "Transcribe the audio."))


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


@pytest.mark.parametrize(
    "template", ["", "{question}", "{question}{audio}{question}", "{audio}{audio}{question}"]
)
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
    prompt = PromptTemplate.of(
        Prompt(template, long if part == "end" else "e", long if part == "question" else "?")
    )
    with pytest.raises(ModelError, match=rf"more than {PROMPT_TOKENS}\.") as caught:
        prompt.check_length(Letters())
    assert caught.value.exit_code == 4
    for cure in ("Shorten", "template", "question", "end_of_turn"):
        assert cure in caught.value.cure


def test_a_prompt_that_just_fits_is_no_fault() -> None:
    rest = "x" * (PROMPT_TOKENS - 3)
    PromptTemplate.of(Prompt("a{audio}{question}" + rest, "e", "?")).check_length(Letters())


def test_an_entry_may_state_room_for_a_longer_prompt() -> None:
    rest = "x" * (PROMPT_TOKENS - 2)
    prompt = Prompt("a{audio}{question}" + rest, "e", "?", max_tokens=PROMPT_TOKENS + 1)
    PromptTemplate.of(prompt).check_length(Letters())


BEFORE = "<|im_start|>user\n{question}\n[{audio}]<|im_end|>\n"


def test_a_question_may_come_before_the_sound() -> None:
    template, letters = parse(BEFORE), Letters()
    before = "".join(map(chr, template.before_ids(letters)))
    assert before == "\x02user\nTranscribe the audio.\n["
    assert "".join(map(chr, template.after_ids(letters))) == "]\x01\n"


def test_after_the_sound_it_is_too_late_for_another_question() -> None:
    template = parse(BEFORE)
    assert template.after_ids(Letters(), "Transcribe the audio.") == template.after_ids(Letters())
    with pytest.raises(UnfitModelError, match="before it hears"):
        template.after_ids(Letters(), "Who spoke?")


def test_a_turn_that_only_asks_may_have_a_text_of_its_own() -> None:
    prompt = Prompt(BEFORE, "e", "?", ask="<|im_start|>{question}<|im_end|>")
    ids = PromptTemplate.of(prompt).ask_ids(Letters(), "say </s>")
    assert "".join(map(chr, ids)) == "\x02say </s>\x01"
    derived = PromptTemplate.of(Prompt("u\n{question}\n{audio};", "e", "?"))
    assert "".join(map(chr, derived.ask_ids(Letters(), "Who?"))) == "u\nWho?;"


def test_a_model_that_only_transcribes_cannot_be_asked() -> None:
    template, letters = PromptTemplate.of(Prompt("u{audio}</s>a", "e", "")), Letters()
    assert "".join(map(chr, template.after_ids(letters))) == "\x03a"
    for ask in (template.ask_ids, template.after_ids):
        with pytest.raises(UnfitModelError, match="only transcribes") as caught:
            ask(letters, "Who spoke?")
        assert "models list" in caught.value.cure


def test_what_is_spoken_is_told_where_the_model_can_be() -> None:
    asr = Prompt("u{audio}a", "e", "", answer_after="<asr>", in_language="u{audio}a{language}<asr>")
    told = PromptTemplate.of(asr, language="fil-PH")
    assert (told.before_audio, told.after_audio) == ("u", "aFilipino<asr>")
    assert told.answer_after == "" and PromptTemplate.of(asr).answer_after == "<asr>"
    coded = Prompt("u{audio}{question}", "e", "?", in_language="u{audio}lang:{code}")
    assert PromptTemplate.of(coded, language="English").after_audio == "lang:en"
    deaf = Prompt("u{audio}{question}", "e", "?")
    assert PromptTemplate.of(deaf, language="en") == PromptTemplate.of(deaf)


def test_hotwords_are_told_where_the_template_has_a_place() -> None:
    prompt = Prompt("s{hotwords}u{audio}{question}", "e", "?", max_tokens=30)
    words = ("Argyle", "van Dykvelt")
    assert PromptTemplate.of(prompt).before_audio == "su"
    told = PromptTemplate.of(prompt, hotwords=words)
    assert told.before_audio == "sArgyle, van Dykveltu"
    told.check_length(Letters())
    with pytest.raises(InputError, match="With 3 hotwords the prompt takes"):
        PromptTemplate.of(prompt, hotwords=(*words, "Argyleshire")).check_length(Letters())
    for word in ("</s>", "{question}", "a|b"):
        with pytest.raises(InputError, match="Write it without"):
            PromptTemplate.of(prompt, hotwords=(word,))
    deaf = Prompt("u{audio}{question}", "e", "?")
    assert PromptTemplate.of(deaf, hotwords=(*words, "a|b")) == PromptTemplate.of(deaf)


def test_a_translation_is_asked_for_as_the_model_has_it() -> None:
    wish = "{language} into {target}"
    asked = Prompt("u{audio}{question}a", "e", "?", translate=wish, translates_to=("fr",))
    template, letters = PromptTemplate.of(asked, language="de", translate="fr-CA"), Letters()
    assert template.question == "German into French"
    assert template.after_ids(letters) == letters.tokenize("German into Frencha")
    assert template.before_audio == PromptTemplate.of(asked).before_audio == "u"
    # What anybody asks takes its place as ever.
    assert template.after_ids(letters, "Who?") == letters.tokenize("Who?a")
    assert PromptTemplate.of(asked, language="de") == PromptTemplate.of(asked)


class Digits(Letters):
    """Takes a pair of digits for one token."""

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return [1] if text[:2].isdigit() and len(text) > 1 else super().tokenize(text)


def test_digits_that_are_no_tokens_cannot_stand_between_rows(tmp_path: Path) -> None:
    timed = TokenRule(kind="timed", block_s=2)
    with pytest.raises(ModelError, match="tokens of several digits"):
        digit_rows(timed, Digits(), tmp_path / "none.gguf")
    assert digit_rows(TokenRule(), Digits(), tmp_path / "none.gguf") is None
