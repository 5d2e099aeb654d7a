"""CTC (Graves et al. 2006) for large vocabularies, and greedy reading of its output."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def compact_ctc(logits: Tensor, steps: Tensor, targets: list[list[int]]) -> Tensor:
    """Mean CTC loss a label of logits [B, T, C] (class 0 blank) with `steps` [B] real frames.

    Exact: the normaliser runs over all C classes, the dynamic programme only over the classes that
    occur in the utterance, so 20 000 classes cost one logsumexp.
    """
    batch, frames, _ = logits.shape
    distinct = [sorted(set(t)) for t in targets]
    index = torch.zeros(batch, max(len(d) for d in distinct) + 1, dtype=torch.long)
    compact: list[int] = []
    for row, (labels, target) in enumerate(zip(distinct, targets, strict=True)):
        index[row, 1 : 1 + len(labels)] = torch.tensor(labels, dtype=torch.long)
        place = {label: i + 1 for i, label in enumerate(labels)}
        compact += [place[label] for label in target]
    normaliser = logits.float().logsumexp(-1, keepdim=True)
    log_probs = logits.gather(2, index[:, None].expand(-1, frames, -1)).float() - normaliser
    lengths = torch.tensor([len(t) for t in targets])
    loss = F.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor(compact),
        steps,
        lengths,
        reduction="none",
        zero_infinity=True,
    )
    # torch's backward pass takes its input for a full log-softmax and adds exp(log_probs) to the
    # gradient; here the normaliser is ours, so that part is taken off again (its value is nought).
    real = (torch.arange(frames)[None] < steps[:, None]) & (loss > 0)[:, None]
    mass = (log_probs.exp() * real[..., None]).sum((1, 2))
    loss = loss - (mass - mass.detach())
    return (loss / lengths.clamp(min=1)).mean()


def greedy(logits: Tensor, steps: int) -> list[int]:
    """Best path of logits [T, C]: repeats merged, blanks dropped."""
    best = logits[:steps].argmax(-1).tolist()
    return [c for i, c in enumerate(best) if c and (i == 0 or best[i - 1] != c)]
