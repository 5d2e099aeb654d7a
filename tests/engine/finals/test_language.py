"""Languages: what is refused, and when the sound gives reason to doubt."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.finals.language import (
    LanguageCheck,
    check_language,
    check_translation,
    language_code,
)
from edge_audiokv.errors import InputError, UnfitModelError

FRAME_S = 0.08


def entry(*languages: str) -> SimpleNamespace:
    return SimpleNamespace(name="tiny", languages=languages)


@pytest.mark.parametrize(
    ("text", "code"),
    [("en", "en"), (" EN_us ", "en"), ("English", "en"), ("zh-Hant", "zh"), ("Mandarin", "zh"),
     ("cmn", "zh"), ("klingon", "klingon"), ("", "")],
)  # fmt: skip
def test_codes(text: str, code: str) -> None:
    assert language_code(text) == code


def test_a_language_that_the_model_lists_passes() -> None:
    for said in (None, "en", "English", "en-GB", "Mandarin"):
        check_language(said, entry("en", "zh"))  # type: ignore[arg-type]


@pytest.mark.parametrize("said", ["de", "German", "klingon", "", "  "])
def test_another_is_refused_with_those_that_are_known(said: str) -> None:
    with pytest.raises(UnfitModelError if said.strip() else InputError) as told:
        check_language(said, entry("en"))  # type: ignore[arg-type]
    assert told.value.cure
    if said.strip():
        assert "English (en)" in told.value.what and "tiny" in told.value.what


def test_a_model_without_languages_says_so() -> None:
    with pytest.raises(UnfitModelError, match="no language by name"):
        check_language("en", entry())  # type: ignore[arg-type]


def translator(wish: str, *targets: str) -> SimpleNamespace:
    return SimpleNamespace(
        name="tiny", prompt=SimpleNamespace(translate=wish, translates_to=targets)
    )


def test_a_translation_that_the_model_has_words_for_passes() -> None:
    model = translator("into {target}", "en", "fr")
    for target in (None, "en", "French"):
        check_translation(target, None, model)  # type: ignore[arg-type]
    check_translation("fr", "de", translator("{language} into {target}", "fr"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "targets", "target", "why"),
    [
        ("into {target}", ("en",), "German", r"to German \(de\); it translates to English \(en\)"),
        ("", (), "en", r"to English \(en\); to none"),
        ("into {target}", ("en",), " ", "translate is empty"),
        ("{language} into {target}", ("en",), "en", "told the language of"),
    ],
)
def test_another_translation_is_refused(
    wish: str, targets: tuple[str, ...], target: str, why: str
) -> None:
    with pytest.raises((UnfitModelError, InputError), match=why) as told:
        check_translation(target, None, translator(wish, *targets))  # type: ignore[arg-type]
    assert told.value.cure


def sound(top: float, other: float, *, rows: int = 30) -> Sound:
    """Rows that name a word with belief `top`, and as many silent ones between."""
    beliefs = np.zeros((2 * rows, 2), np.float32)
    beliefs[::2] = top, other
    return Sound(np.zeros((2 * rows, 4), np.float32), np.zeros((2 * rows, 2), np.int32), beliefs)


def test_unsure_words_are_doubted_once_and_not_too_soon() -> None:
    check = LanguageCheck(["en"], frame_s=FRAME_S)
    check.hear(sound(0.4, 0.5, rows=10))
    assert check.take_warning() is None
    check.hear(sound(0.4, 0.5))
    warning = check.take_warning()
    assert warning is not None and "English" in warning and "language=" in warning
    check.hear(sound(0.4, 0.5))
    assert check.take_warning() is None


def test_sure_words_are_not_doubted() -> None:
    check = LanguageCheck(["en"], frame_s=FRAME_S)
    for _ in range(5):
        check.hear(sound(0.95, 0.02))
        check.hear(sound(0.4, 0.5))
    assert check.certainty == pytest.approx(0.97 / (0.97 + 0.9))
    assert check.take_warning() is None


@pytest.mark.parametrize("languages", [[], ["en", "de", "fr", "es"]])
def test_a_model_of_no_or_of_many_languages_is_never_doubted(languages: list[str]) -> None:
    check = LanguageCheck(languages, frame_s=FRAME_S)
    check.hear(sound(0.1, 0.1))
    assert check.take_warning() is None


def test_an_encoder_without_words_is_never_doubted() -> None:
    check = LanguageCheck(["en"], frame_s=FRAME_S)
    for _ in range(50):
        check.hear(Sound.of(np.zeros((50, 4), np.float32)))
    assert check.take_warning() is None and check.certainty == 1.0
