from __future__ import annotations

import torch

from edge_audiokv.train.batches import Batch
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.listener import Listener, hear, word_losses
from edge_audiokv.train.projector import AudioModel, Projector, WordHead
from edge_audiokv.train.spelling import Spelling
from edge_audiokv.train.whisper import WhisperEncoder

CLASSES = 40


class FewWords(Spelling):
    """A vocabulary of made-up classes, without the tokeniser's package."""

    def __init__(self) -> None:
        self.tokens = list(range(100, 100 + CLASSES))


def listener(seed: int) -> Listener:
    torch.manual_seed(seed)
    audio = AudioModel(WhisperEncoder(layers=1), FrameDecoder(layers=1), Projector(hidden=64))
    words = WordHead(torch.randn(CLASSES, 384), torch.randn(384), 0.1)
    copies = WordHead(torch.randn(CLASSES, 576), torch.randn(576), 0.1)
    return Listener(audio, words, copies, FewWords())


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
    expected = source.audio.projector.out.weight.half().float()
    torch.testing.assert_close(target.audio.projector.out.weight.detach(), expected)


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


def test_the_copy_learns_what_the_words_believe_and_moves_only_the_llm_side() -> None:
    it = listener(2)
    sample = batch()
    optimizer = torch.optim.Adam([*it.audio.projector.parameters(), *it.copies.parameters()], 3e-2)
    found = []
    for _ in range(60):
        torch.manual_seed(0)
        _, apart = word_losses(it, sample, hear(it.audio, sample), 20)
        optimizer.zero_grad()
        apart.backward()
        optimizer.step()
        found.append(float(apart.detach()))
    assert all(p.grad is None for p in it.words.parameters())
    assert 0.0 <= found[-1] < 0.3 * found[0]


def test_ctc_teaches_the_decoder() -> None:
    it = listener(3)
    sample = batch()
    words, _ = word_losses(it, sample, hear(it.audio, sample), CLASSES)
    words.backward()
    assert all(p.grad is not None for p in it.audio.decoder.parameters())
