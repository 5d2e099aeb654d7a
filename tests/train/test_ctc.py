from __future__ import annotations

import torch
import torch.nn.functional as F

from edge_audiokv.train.ctc import compact_ctc, greedy


def reference(logits: torch.Tensor, steps: torch.Tensor, targets: list[list[int]]) -> torch.Tensor:
    lengths = torch.tensor([len(t) for t in targets])
    flat = torch.tensor([c for t in targets for c in t])
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    loss = F.ctc_loss(log_probs, flat, steps, lengths, reduction="none", zero_infinity=True)
    return (loss / lengths).mean()


def test_value_and_gradient_are_those_of_full_ctc() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 12, 30, requires_grad=True)
    steps, targets = torch.tensor([12, 9, 7]), [[3, 4, 4, 9], [29, 1], [5]]
    ours, theirs = compact_ctc(logits, steps, targets), reference(logits, steps, targets)
    torch.testing.assert_close(ours, theirs)
    (mine,) = torch.autograd.grad(ours, logits)
    (other,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_impossible_target_gives_no_gradient() -> None:
    logits = torch.randn(1, 2, 8, requires_grad=True)
    loss = compact_ctc(logits, torch.tensor([2]), [[1, 2, 3, 4]])
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()


def test_greedy_merges_repeats_and_drops_blanks() -> None:
    path = [0, 3, 3, 0, 3, 5, 5, 0, 7]
    logits = F.one_hot(torch.tensor(path), 8).float()
    assert greedy(logits, 9) == [3, 3, 5, 7]
    assert greedy(logits, 6) == [3, 3, 5]
