from __future__ import annotations

import torch

from edge_audiokv.train.listener import Listener
from edge_audiokv.train.projector import AudioModel, LetterHead, PieceHead, Projector
from edge_audiokv.train.whisper import WhisperEncoder


def listener(seed: int) -> Listener:
    torch.manual_seed(seed)
    audio = AudioModel(WhisperEncoder(layers=1), Projector(width=64, blocks=1))
    return Listener(audio, PieceHead(torch.randn(9, 576), [1, 4, 7]), LetterHead(), [1, 4, 7], 1500)


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
        alone = audio.project(audio.encode(short))[1][0]
        together = audio.project(audio.encode(padded, tokens), tokens)[1][0, :10]
    # The last frames see the encoder's padded convolution; the rest must not see it at all.
    torch.testing.assert_close(together[:4], alone[:4], atol=2e-2, rtol=2e-2)
