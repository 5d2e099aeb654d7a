"""Is this a language that the model knows? What a person says of it, and what the sound says.

An encoder that names words is seldom sure of one in a language that it has not learnt: it spreads
its belief over many. So the share of all belief in words that lies in sure rows tells a known
language from another; `eval language` measures how often it errs.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.errors import InputError, UnfitModelError
from edge_audiokv.models.entry import ModelEntry

# The languages that audio models list most, by their codes (ISO 639-1, and 639-3 for Cantonese).
NAMES = {
    "ar": "Arabic", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish",
    "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "mk": "Macedonian",
    "ms": "Malay", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sv": "Swedish", "ta": "Tamil",
    "th": "Thai", "tl": "Filipino", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "yue": "Cantonese", "zh": "Chinese",
}  # fmt: skip
_CODES = {name.lower(): code for code, name in NAMES.items()}
_SAME = {"cmn": "zh", "mandarin": "zh", "iw": "he", "nb": "no", "nn": "no", "fil": "tl"}
# A row is sure of a word above this belief.
_SURE = 0.8
# Below this share the words are guesses; above it they may still be wrong.
LEAST_CERTAINTY = 0.27
# Seconds of rows that name a word before anything is said of them; about a fifth of speech is such.
LEAST_SPOKEN_S = 1.5


def language_code(text: str) -> str:
    """The code of a language given as a code, with or without a country, or an English name."""
    plain = text.strip().lower().replace("_", "-")
    short = plain.split("-", maxsplit=1)[0]
    return _CODES.get(plain) or _SAME.get(plain) or _SAME.get(short) or short


def check_language(language: str | None, entry: ModelEntry) -> None:
    """UnfitModelError if a language is given that the model of `entry` does not list."""
    if language is None:
        return
    listed = [language_code(known) for known in entry.languages]
    if not language_code(language):
        raise InputError("language is empty.", cure='Write a code such as "en", or leave it out.')
    if language_code(language) in listed:
        return
    knows = ", ".join(map(_described, listed)) or "no language by name"
    raise UnfitModelError(
        f"{entry.name} does not know {_described(language_code(language))}; it lists {knows}.",
        cure="Choose another model (edge-audiokv models list), or leave the language out.",
    )


def check_translation(target: str | None, language: str | None, entry: ModelEntry) -> None:
    """UnfitModelError if a language is given that the model of `entry` does not translate to,
    InputError if it has to be told which one is spoken.
    """
    if target is None:
        return
    listed = [language_code(known) for known in entry.prompt.translates_to]
    code = language_code(target)
    if not code:
        raise InputError("translate is empty.", cure='Write a code such as "en", or leave it out.')
    if code not in listed:
        knows = f"it translates to {', '.join(map(_described, listed))}" if listed else "to none"
        raise UnfitModelError(
            f"{entry.name} has no way of its own of translating to {_described(code)}; {knows}.",
            cure="Choose another model, or leave translate= out.",
        )
    if language is None and "{language}" in entry.prompt.translate:
        raise InputError(
            f"{entry.name} translates what it is told the language of.",
            cure='Say what is spoken, too: language="de".',
        )


class LanguageCheck:
    """Listens to one recording or session, and doubts once that it is one of `languages`.

    Without languages, or an encoder that names words, it never does. It remembers two numbers.
    """

    def __init__(self, languages: Sequence[str], *, frame_s: float) -> None:
        self._known = " or ".join(NAMES.get(language_code(x), x) for x in languages[:3])
        self._frame_s = frame_s
        self._spoken_rows = 0.0
        self._certain_rows = 0.0
        self._told = not languages or len(languages) > 3

    @property
    def spoken_s(self) -> float:
        """Seconds of rows that name a word."""
        return self._spoken_rows * self._frame_s

    @property
    def certainty(self) -> float:
        """In [0, 1]; 1 before anything was said."""
        return self._certain_rows / self._spoken_rows if self._spoken_rows else 1.0

    def hear(self, sound: Sound) -> None:
        """The sound of one more segment."""
        if self._told or not sound.beliefs.shape[1]:
            return
        spoken = sound.beliefs.sum(axis=1)
        self._spoken_rows += float(spoken.sum())
        self._certain_rows += float(spoken[sound.beliefs.max(axis=1) > _SURE].sum())

    def take_warning(self) -> str | None:
        """The doubt, when there is first reason for it."""
        if self._told or self.spoken_s < LEAST_SPOKEN_S:
            return None
        if self.certainty >= LEAST_CERTAINTY:
            return None
        self._told = True
        return (
            f"this hardly sounds like {self._known}, the text is likely wrong (another language,"
            " or hard to hear); language= says what is spoken"
        )


def _described(code: str) -> str:
    return f"{NAMES[code]} ({code})" if code in NAMES else code
