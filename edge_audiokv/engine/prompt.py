"""Turn a model's prompt template into token ids around the audio embeddings.

A template is text with one `{audio}` and, after it, one `{question}`:
`<|im_start|>user\\n{audio}\\n{question}<|im_end|>\\n<|im_start|>assistant\\n`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_audiokv.errors import ModelError

# What caches leave room for beside the sound.
PROMPT_TOKENS = 64


class Tokenizer(Protocol):
    """What the prompt needs of a model."""

    def tokenize(self, text: str, *, special: bool = True) -> list[int]: ...


@dataclass(frozen=True)
class PromptTemplate:
    """Text before the audio, after it, and around a question that has no audio of its own."""

    before_audio: str
    after_audio: str
    end_of_turn: str
    question: str = "Transcribe the audio."

    @classmethod
    def parse(
        cls, template: str, *, end_of_turn: str, question: str = "Transcribe the audio."
    ) -> PromptTemplate:
        """Split `template` at `{audio}`. Raises ModelError if a placeholder is not there once."""
        for name in ("{audio}", "{question}"):
            if template.count(name) != 1:
                raise ModelError(
                    f"the prompt template has {template.count(name)} {name} instead of one",
                    cure="Mend `template` in the model's TOML entry.",
                )
        before, after = template.split("{audio}")
        if "{question}" not in after:
            raise ModelError(
                "the prompt template asks before the audio",
                cure="Put {question} after {audio} in the model's TOML entry.",
            )
        return cls(before, after, end_of_turn, question)

    def check_length(self, tokenizer: Tokenizer) -> None:
        """Raise ModelError if the text around the sound is more than caches have room for."""
        parts = (self.before_ids(tokenizer), self.after_ids(tokenizer), self.end_ids(tokenizer))
        n_tokens = sum(map(len, parts))
        if n_tokens > PROMPT_TOKENS:
            raise ModelError(
                f"the prompt takes {n_tokens} tokens beside the sound, more than {PROMPT_TOKENS}.",
                cure="Shorten `template`, `question` or `end_of_turn` in the model's TOML entry.",
            )

    def before_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Tokens before the audio."""
        return tokenizer.tokenize(self.before_audio, special=True)

    def after_ids(self, tokenizer: Tokenizer, question: str | None = None) -> list[int]:
        """Tokens after the audio: the question and the opening of the answer."""
        return self._fill(tokenizer, self.after_audio, question)

    def ask_ids(self, tokenizer: Tokenizer, question: str) -> list[int]:
        """Tokens of a turn that only asks, about audio of earlier turns."""
        return self._fill(tokenizer, self.before_audio + self.after_audio.lstrip("\n"), question)

    def end_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Tokens that close an answer before the next turn."""
        return tokenizer.tokenize(self.end_of_turn, special=True)

    def _fill(self, tokenizer: Tokenizer, text: str, question: str | None) -> list[int]:
        # The question is a person's text: its own special tokens must stay text.
        head, tail = text.split("{question}")
        asked = question or self.question
        middle = tokenizer.tokenize(asked, special=False)
        if middle == tokenizer.tokenize(asked, special=True):
            return tokenizer.tokenize(head + asked + tail, special=True)
        return [
            *tokenizer.tokenize(head, special=True),
            *middle,
            *tokenizer.tokenize(tail, special=True),
        ]
