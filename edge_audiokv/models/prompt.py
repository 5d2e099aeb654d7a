"""The words around the sound, as an entry states them."""

from __future__ import annotations

from dataclasses import dataclass

# What caches leave room for beside the sound, unless an entry needs more.
PROMPT_TOKENS, MAX_PROMPT_TOKENS = 64, 512


@dataclass(frozen=True)
class Prompt:
    """The text around the audio: one `{audio}`, and before or after it at most one `{question}`.

    `ask` is a turn that asks about earlier sound, if that is not the template without its sound.
    What the model writes up to `answer_after`, if it writes that, is not part of its answer, nor is
    what stands between the two characters `answer_tags`. `in_language` is the template where it is
    known what is spoken: its {language} is the English name of that, its {code} the code.
    A template's {hotwords}, before its sound, are words that are expected; without them nothing.
    `translate` is the question for a translation into one of `translates_to`, with the {target} and
    maybe the {language} that is spoken, by their English names.
    `max_tokens` is what caches leave room for beside the sound. An answer about earlier sound with
    less than `least_evidence`, or less sure than `least_confidence` (engine/recall/evidence.py), is
    not given; 0 gives all.
    """

    template: str
    end_of_turn: str
    question: str
    ask: str = ""
    answer_after: str = ""
    answer_tags: str = ""
    in_language: str = ""
    translate: str = ""
    translates_to: tuple[str, ...] = ()
    max_tokens: int = PROMPT_TOKENS
    least_evidence: float = 0.0
    least_confidence: float = 0.0

    @property
    def asks(self) -> bool:
        """Can the model be asked anything, or does it only transcribe?"""
        return "{question}" in self.template + self.ask

    @property
    def takes_hotwords(self) -> bool:
        """Can the model be told of words that are expected?"""
        return "{hotwords}" in self.template
