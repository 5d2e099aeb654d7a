"""Rows for samples: four kinds, checked against counting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.models.token_rule import TokenRule

QWEN3_ASR = TokenRule(tokens_per_second=13, kind="blocks", block_s=1, chunk_s=8)
GRANITE = TokenRule(tokens_per_second=10, kind="blocks", block_s=0.3)
VOXTRAL = TokenRule(tokens_per_second=12.5, kind="windows", block_s=30)
ULTRAVOX = TokenRule(tokens_per_second=6.25)
MOSS = TokenRule(tokens_per_second=12.5, kind="timed", block_s=2, chunk_s=30)
RULES = [QWEN3_ASR, GRANITE, VOXTRAL, ULTRAVOX, TokenRule(8000, 25, "windows", 0.04)]


@pytest.mark.parametrize("rule", [*RULES, MOSS])
def test_families_have_no_fault(rule: TokenRule) -> None:
    assert rule.fault is None


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (TokenRule(tokens_per_second=13), "do not divide"),
        (TokenRule(8, 16), "do not divide"),
        (TokenRule(block_s=1), "needs token_rule"),
        (TokenRule(kind="blocks"), "is needed"),
        (TokenRule(kind="timed"), "whole number of seconds"),
        (TokenRule(kind="timed", block_s=0.4), "whole number of seconds"),
        (TokenRule(kind="timed", block_s=1), "whole number of rows"),
        (TokenRule(tokens_per_second=13, kind="blocks", block_s=0.5), "whole number of rows"),
        (TokenRule(kind="windows", block_s=0.0801), "whole number of samples"),
        (TokenRule(11025, 12, kind="blocks", block_s=1), "multiple of 100 Hz"),
        (TokenRule(tokens_per_second=13, kind="blocks", block_s=1, chunk_s=2.5), "no multiple"),
    ],
)
def test_rules_that_cannot_work_say_why(rule: TokenRule, fault: str) -> None:
    assert fault in str(rule.fault)


@given(rule=st.sampled_from(RULES), n_samples=st.integers(0, 40 * 16000))
def test_padding_is_short_and_rows_bound_what_is_believed(rule: TokenRule, n_samples: int) -> None:
    padded, most = rule.padded(n_samples), rule.most_rows(n_samples)
    # By counting units one after another.
    units = 0
    while units * rule.unit_samples < n_samples:
        units += 1
    assert most == units * rule.unit_rows
    assert n_samples <= padded < n_samples + max(rule.unit_samples, 321)
    if rule.kind != "blocks":
        assert padded == units * rule.unit_samples
        assert rule.rows(n_samples) == most
        assert rule.fits(most, padded)
    believed = [n for n in range(most + 2) if rule.fits(n, padded)]
    assert (believed or [0])[-1] == most
    if n_samples:
        assert rule.rows(n_samples) in believed or padded % rule.unit_samples == 0
    whole = padded % rule.unit_samples == 0
    assert len(believed) == (1 if whole else rule.unit_rows)


def test_thirteen_rows_a_second_and_a_tail() -> None:
    assert QWEN3_ASR.rows(3 * 16000) == 39
    assert QWEN3_ASR.fits(39, 3 * 16000) and not QWEN3_ASR.fits(38, 3 * 16000)
    assert QWEN3_ASR.padded(16001) == 16160
    assert QWEN3_ASR.fits(14, 16160) and QWEN3_ASR.fits(26, 16160)
    assert not QWEN3_ASR.fits(13, 16160) and not QWEN3_ASR.fits(27, 16160)
    assert QWEN3_ASR.cut_samples == 8 * 16000 and GRANITE.cut_samples == 4800


def test_a_window_is_filled_whatever_it_holds() -> None:
    assert VOXTRAL.rows(1) == VOXTRAL.rows(480_000) == 375
    assert VOXTRAL.padded(1) == 480_000
    assert VOXTRAL.rows_in(15) == 375 and ULTRAVOX.rows_in(15) == 94


@pytest.mark.parametrize("seconds", [0.01, 1.99, 2.0, 2.01, 9.9, 10.0, 30.0, 99.0, 125.5])
def test_times_stand_between_rows(seconds: float) -> None:
    """As MOSS's processor writes them: row after row, and the seconds when there are so many."""
    n_samples = round(seconds * 16000)
    n_rows, text = -(-n_samples // 1280), ""
    for row in range(1, n_rows + 1):
        text += "#"
        if row % 25 == 0:
            text += str(row // 25 * 2)
    assert MOSS.rows(n_samples) == MOSS.most_rows(n_samples) == len(text)
    assert MOSS.graph_rows(n_samples) == n_rows and MOSS.fits(n_rows, MOSS.padded(n_samples))
    # In windows of any length they are the same.
    for first in (375, 40):
        parts, passed = "", 0
        while passed < n_rows:
            count = min(first, n_rows - passed)
            at = 0
            for row, digits in MOSS.times(count, passed):
                parts += "#" * (row - at) + digits
                at = row
            parts += "#" * (count - at)
            passed += count
        assert parts == text
    assert MOSS.rows_per_second == 13.5 and ULTRAVOX.rows_per_second == 6.25
