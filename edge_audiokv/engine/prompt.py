"""Turn a model's prompt template into token ids around the audio embeddings.

A template is text with one `{audio}` and, before or after it, one `{question}`:
`<|im_start|>user\\n{audio}\\n{question}<|im_end|>\\n<|im_start|>assistant\\n`. A model that
does nothing but transcribe may have no `{question}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from edge_audiokv.engine.finals.language import NAMES, language_code
from edge_audiokv.errors import InputError, ModelError, UnfitModelError
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.models.prompt import PROMPT_TOKENS, Prompt
from edge_audiokv.models.token_rows import read_token_rows
from edge_audiokv.models.token_rule import TokenRule
from edge_audiokv.units import clipped

_QUESTION = "{question}"
# Special tokens and placeholders have some of them.
_MARKS = frozenset("<>[]{}|")
_ALL_DIGITS = "1024635798"


class Tokenizer(Protocol):
    """What the prompt needs of a model."""

    def tokenize(self, text: str, *, special: bool = True) -> list[int]: ...


@dataclass(frozen=True)
class PromptTemplate:
    """Text before the audio, after it, and around a question that has no audio of its own.

    The answer is what is written after `answer_after`, if that is written.
    `asking` is the text around such a question; None for a model that only transcribes. An answer
    to it with less than `least_evidence` or `least_confidence` is withheld.
    """

    before_audio: str
    after_audio: str
    end_of_turn: str
    asking: str | None
    question: str = "Transcribe the audio."
    max_tokens: int = PROMPT_TOKENS
    least_evidence: float = 0.0
    least_confidence: float = 0.0
    answer_after: str = ""
    n_hotwords: int = 0

    @classmethod
    def of(
        cls,
        prompt: Prompt,
        *,
        language: str | None = None,
        translate: str | None = None,
        hotwords: Sequence[str] = (),
    ) -> Self:
        """Split the template at `{audio}`; a `language` that is spoken is told where it can be.

        With `translate` the model's own question for a translation into that language is asked.
        `hotwords` are told where the template has a place for them. Raises ModelError if its
        placeholders are not right, InputError for hotwords that might be read as marks of a turn.
        """
        template, question = prompt.template, prompt.question
        if translate is not None:
            question = prompt.translate.replace("{target}", _name(translate))
            question = question.replace("{language}", _name(language or ""))
        elif language is not None and prompt.in_language:
            template = prompt.in_language.replace("{code}", language_code(language))
            template = template.replace("{language}", _name(language))
        if prompt.takes_hotwords:
            template = template.replace("{hotwords}", _told(hotwords))
        if template.count("{audio}") != 1 or template.count(_QUESTION) > 1:
            raise ModelError(
                f"The prompt template has {template.count('{audio}')} {{audio}} and"
                f" {template.count(_QUESTION)} {_QUESTION} instead of one each",
                cure="Mend `template` in the model's TOML entry.",
            )
        before, after = template.split("{audio}")
        asking = prompt.ask or None
        if asking is None and prompt.asks:
            # Without the sound its line goes, too.
            first = _QUESTION in before
            asking = before.rstrip("\n") + after if first else before + after.lstrip("\n")
        rest = prompt.end_of_turn, asking, question, prompt.max_tokens
        # What the template ends with is not written once more.
        said = bool(prompt.answer_after) and after.endswith(prompt.answer_after)
        return cls(
            before,
            after,
            *rest,
            prompt.least_evidence,
            prompt.least_confidence,
            "" if said else prompt.answer_after,
            len(hotwords) if prompt.takes_hotwords else 0,
        )

    def check_length(self, tokenizer: Tokenizer) -> None:
        """Raise ModelError if the text around the sound is more than caches have room for, or
        InputError if there are hotwords in it.
        """
        parts = (self.before_ids(tokenizer), self.after_ids(tokenizer), self.end_ids(tokenizer))
        n_tokens = sum(map(len, parts))
        if n_tokens > self.max_tokens and self.n_hotwords:
            raise InputError(
                f"With {self.n_hotwords} hotwords the prompt takes {n_tokens} tokens, more than"
                f" {self.max_tokens}.",
                cure="Name those that are missed most.",
            )
        if n_tokens > self.max_tokens:
            raise ModelError(
                f"The prompt takes {n_tokens} tokens beside the sound,"
                f" more than {self.max_tokens}.",
                cure="Shorten `template`, `question` or `end_of_turn` in the model's TOML entry,"
                " or state `max_tokens`.",
            )

    def before_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Tokens before the audio."""
        return self._fill(tokenizer, self.before_audio, self.question)

    def after_ids(self, tokenizer: Tokenizer, question: str | None = None) -> list[int]:
        """Tokens after the audio: the question and the opening of the answer.

        Raises UnfitModelError if `question` cannot be put there.
        """
        if question not in (None, self.question) and _QUESTION not in self.after_audio:
            self._refuse_questions()
            raise UnfitModelError(
                "This model is asked before it hears; it cannot be asked another way afterwards.",
                cure="Ask in a turn of its own, as `edge-audiokv ask` does.",
            )
        return self._fill(tokenizer, self.after_audio, question or self.question)

    def ask_ids(self, tokenizer: Tokenizer, question: str) -> list[int]:
        """Tokens of a turn that only asks, about audio of earlier turns.

        Raises UnfitModelError for a model that only transcribes.
        """
        self._refuse_questions()
        return self._fill(tokenizer, self.asking or "", question or self.question)

    def end_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Tokens that close an answer before the next turn."""
        return tokenizer.tokenize(self.end_of_turn, special=True)

    def _refuse_questions(self) -> None:
        if self.asking is None:
            raise _only_transcribes()

    def _fill(self, tokenizer: Tokenizer, text: str, question: str) -> list[int]:
        if _QUESTION not in text:
            return tokenizer.tokenize(text, special=True)
        # The question is a person's text: its own special tokens must stay text.
        head, tail = text.split(_QUESTION)
        middle = tokenizer.tokenize(question, special=False)
        if middle == tokenizer.tokenize(question, special=True):
            return tokenizer.tokenize(head + question + tail, special=True)
        return [
            *tokenizer.tokenize(head, special=True),
            *middle,
            *tokenizer.tokenize(tail, special=True),
        ]


def _told(hotwords: Sequence[str]) -> str:
    for word in hotwords:
        if _MARKS.intersection(word):
            raise InputError(
                f"The hotword {clipped(word, 40)!r} has one of {' '.join(sorted(_MARKS))}.",
                cure="Write it without.",
            )
    return ", ".join(hotwords)


def _name(language: str) -> str:
    """The English name of a language given by that or by its code."""
    code = language_code(language)
    return NAMES.get(code, code)


def digit_rows(rule: TokenRule, tokenizer: Tokenizer, llm: Path) -> FloatArray | None:
    """What the LLM in the GGUF `llm` reads for "0" to "9", float32 [10, d_model], where the rule
    puts times between rows; else None.

    Raises ModelError if its tokenizer takes several digits for one token.
    """
    if rule.kind != "timed":
        return None
    ids = [tokenizer.tokenize(str(digit), special=False) for digit in range(10)]
    whole = tokenizer.tokenize(_ALL_DIGITS, special=False)
    if whole != [ids[int(digit)][-1] for digit in _ALL_DIGITS] or any(len(x) != 1 for x in ids):
        raise ModelError(
            "The LLM has tokens of several digits, so that no times can be put between rows.",
            cure="Take the LLM that the encoder was made for.",
        )
    return read_token_rows(llm, [token for (token,) in ids])


def check_asks(prompt: Prompt) -> None:
    """Raise UnfitModelError for a model that cannot be asked anything."""
    if not prompt.asks:
        raise _only_transcribes()


def _only_transcribes() -> UnfitModelError:
    return UnfitModelError(
        "This model only transcribes; it cannot be asked anything.",
        cure="Take another: `edge-audiokv models list`.",
    )
