from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edge_audiokv.errors import InputError
from edge_audiokv.train import state
from edge_audiokv.train.average import average


def checkpoint(path: Path, value: float, **more: Any) -> Path:
    saved = {
        "audio": {"w": torch.full((2, 3), value), "seen": torch.tensor(7)},
        "lora": {"a": torch.full((4,), -value, dtype=torch.bfloat16)},
        "tokens": [1, 2],
        "lora_rank": 4,
        "optimizers": {"lora": {}},
    }
    state.save(path, {**saved, **more})
    return path


def test_every_weight_is_the_mean_in_its_own_type(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / f"{v}.pt", v) for v in (1.0, 2.0, 6.0)]
    mean = average(paths)
    assert torch.equal(mean["audio"]["w"], torch.full((2, 3), 3.0))
    assert torch.equal(mean["lora"]["a"], torch.full((4,), -3.0, dtype=torch.bfloat16))
    assert mean["audio"]["seen"] == 7 and mean["audio"]["seen"].dtype == torch.long
    assert mean["tokens"] == [1, 2] and mean["lora_rank"] == 4 and "optimizers" not in mean


def test_one_checkpoint_is_its_own_mean(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "x.pt", 0.3)
    assert torch.equal(average([path])["audio"]["w"], state.load(path)["audio"]["w"])


def test_other_models_are_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "x.pt", 1.0)
    other = checkpoint(tmp_path / "other.pt", 1.0, tokens=[1, 3])
    with pytest.raises(InputError, match="different models"):
        average([path, other])
    ctc = tmp_path / "ctc.pt"
    state.save(ctc, {"audio": {}, "tokens": [1, 2]})
    with pytest.raises(InputError, match="no adapter"):
        average([path, ctc])
