"""What every encoder shares: padding, windows, input checks."""

from __future__ import annotations

from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.encoder.base import Encoder
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.errors import InputError, ModelError
from edge_audiokv.models.token_rule import TokenRule


class MeanEncoder(Encoder):
    """A token's embedding is the mean of its samples: shows which samples went where."""

    def __init__(self, max_window_s: float = 1.0) -> None:
        super().__init__(
            d_model=2, rule=TokenRule(100, tokens_per_second=10), max_window_s=max_window_s
        )
        self.lengths: list[int] = []

    def load(self) -> Self:
        return self

    def close(self) -> None:
        self.lengths.append(-1)

    @property
    def nbytes(self) -> int:
        return 0

    def _encode_window(self, audio: NDArray[np.float32]) -> Sound:
        self.lengths.append(len(audio))
        means = audio.reshape(-1, self.rule.unit_samples).mean(axis=1)
        return Sound.of(np.repeat(means[:, None], 2, axis=1))


def test_a_clip_of_one_sample_gives_one_padded_token() -> None:
    rows = MeanEncoder().encode(np.full(1, 10, np.float32))
    assert rows.shape == (1, 2)
    assert rows[0, 0] == pytest.approx(1.0)


def test_no_audio_gives_no_rows() -> None:
    assert MeanEncoder().encode(np.empty(0, np.float32)).shape == (0, 2)


@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 99, 100, 101, 1234])
def test_any_length_gives_the_rows_of_one_long_window(n_samples: int) -> None:
    audio = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    short, long = MeanEncoder(), MeanEncoder(max_window_s=1000)
    rows = short.encode(audio)
    assert len(rows) == short.token_count(n_samples) == -(-n_samples // 10)
    np.testing.assert_allclose(rows, long.encode(audio), atol=1e-6)
    assert max(short.lengths) <= 100
    assert len(long.lengths) == 1


def test_windows_are_made_one_at_a_time() -> None:
    encoder = MeanEncoder()
    next(encoder.windows(np.ones(1000, np.float32)))
    assert len(encoder.lengths) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(bad: float) -> None:
    audio = np.zeros(50, np.float32)
    audio[7] = bad
    with pytest.raises(InputError, match="not numbers"):
        MeanEncoder().encode(audio)


def test_stereo_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 50\)"):
        MeanEncoder().encode(np.zeros((2, 50), np.float32))


def test_a_token_grid_that_does_not_fit_the_rate_is_refused() -> None:
    class Odd(MeanEncoder):
        def __init__(self) -> None:
            Encoder.__init__(self, d_model=2, rule=TokenRule(tokens_per_second=7), max_window_s=1)

    with pytest.raises(ModelError, match="do not divide"):
        Odd()


def test_leaving_the_context_closes() -> None:
    with MeanEncoder() as encoder:
        pass
    assert encoder.lengths == [-1]


class Blocks(MeanEncoder):
    """Five rows for each tenth of a second; of a short last one as many as it has pairs."""

    def __init__(self, rule: TokenRule, max_window_s: float) -> None:
        super().__init__()
        Encoder.__init__(self, d_model=2, rule=rule, max_window_s=max_window_s)

    def _encode_window(self, audio: NDArray[np.float32]) -> Sound:
        self.lengths.append(len(audio))
        return Sound.of(np.ones((len(audio) // 2, 2), np.float32))


def test_a_short_last_block_is_padded_to_the_hop_and_gives_what_the_graph_says() -> None:
    rule = TokenRule(100, 50, kind="blocks", block_s=0.1)
    encoder = Blocks(rule, max_window_s=0.5)
    assert len(encoder.encode(np.zeros(43, np.float32))) == 21
    assert encoder.lengths == [43] and encoder.token_count(43) == 22


def test_long_sound_is_cut_where_the_encoders_chunks_end() -> None:
    rule = TokenRule(100, 50, kind="blocks", block_s=0.1, chunk_s=0.2)
    encoder = Blocks(rule, max_window_s=0.5)
    loud = np.ones(101, np.float32)
    loud[30:33] = 0
    encoder.encode(loud)
    assert encoder.lengths == [40, 40, 21]


def test_windows_of_one_length_are_filled_with_silence() -> None:
    encoder = Blocks(TokenRule(100, 50, kind="windows", block_s=0.3), max_window_s=0.1)
    assert len(encoder.encode(np.ones(41, np.float32))) == 30
    assert encoder.lengths == [30, 30]


def test_times_come_between_rows_if_the_llm_has_digits() -> None:
    rule = TokenRule(100, 10, kind="timed", block_s=2)
    encoder = MeanEncoder(max_window_s=5)
    encoder.rule = rule
    audio = np.arange(2100, dtype=np.float32)
    plain = encoder.encode(audio)
    assert len(plain) == encoder.token_count(len(audio)) == 210
    encoder.digits = -np.arange(10, dtype=np.float32)[:, None].repeat(2, axis=1) - 1
    rows = encoder.encode(audio)
    assert len(rows) == encoder.token_count(len(audio)) == 210 + 4 + 2 * 6
    assert rows[rows[:, 0] >= 0].tolist() == plain.tolist()
    times = [int(-row - 1) for row in rows[:, 0] if row < 0]
    assert times == [2, 4, 6, 8, 1, 0, 1, 2, 1, 4, 1, 6, 1, 8, 2, 0]
    assert (rows[20, 0], rows[41, 0], rows[42, 0]) == (-3, -5, plain[40, 0])
