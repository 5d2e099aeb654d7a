"""Who reads plain text or subtitles learns, too, that words may be missing."""

from __future__ import annotations

import pytest

from edge_audiokv.engine.finals.loss import loss_of
from edge_audiokv.events import Final


def final(*flags: str) -> Final:
    return Final(3, 61.0, 75.5, "what was written", flags)


@pytest.mark.parametrize("flag", ["loop", "runaway", "jump"])
def test_every_flag_of_loss_is_told_with_its_time(flag: str) -> None:
    told = loss_of(final(flag))
    assert told is not None and "00:01:01" in told and "00:01:15.500" in told
    assert loss_of(final(flag, "retried", "cut")) == told


@pytest.mark.parametrize("flags", [(), ("retried",), ("loop", "retried"), ("jump", "retried")])
def test_what_was_put_right_is_not_told(flags: tuple[str, ...]) -> None:
    assert loss_of(final(*flags)) is None


def test_two_faults_make_one_warning() -> None:
    told = loss_of(final("loop", "jump"))
    assert told is not None and "loop" in told and "does not follow" in told
