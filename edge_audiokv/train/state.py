"""Checkpoints that are whole or absent, a log of JSON lines, and curves drawn from it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_audiokv.errors import InputError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside and rename, so that a kill never leaves half a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; only tensors and plain values are unpickled."""
    if not path.exists():
        raise InputError(f"No checkpoint at {path}.", cure="Train one or name another with `init`.")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


class Averages:
    """Running means of losses, and how much sound went by."""

    def __init__(self, keep: float = 0.96) -> None:
        self.keep, self.seconds = keep, 0.0
        self.means: dict[str, float] = {}

    def add(self, seconds: float, **losses: Tensor) -> None:
        self.seconds += seconds
        for name, loss in losses.items():
            value = float(loss.detach())
            self.means[name] = self.keep * self.means.get(name, value) + (1 - self.keep) * value

    def rounded(self) -> dict[str, float]:
        """`loss_NAME` and `heard_h` for the log."""
        means = {f"loss_{name}": round(value, 4) for name, value in self.means.items()}
        return {**means, "heard_h": round(self.seconds / 3600, 2)}


class Log:
    """Appends one JSON line an entry and prints it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.started = time.monotonic()

    def write(self, **entry: Any) -> None:
        entry = {"elapsed_s": round(time.monotonic() - self.started, 1), **entry}
        line = json.dumps(entry)
        with self.path.open("a") as out:
            out.write(line + "\n")
        print(line, flush=True)


def draw_curves(log: Path, picture: Path) -> None:
    """Losses and WER over steps from a log, one panel each, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log.read_text().splitlines()]
    series: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith(("loss", "wer")):
                xs, ys = series.setdefault(name, ([], []))
                xs.append(float(row["step"]))
                ys.append(float(value))
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4))
    for name, (xs, ys) in sorted(series.items()):
        panels[int(name.startswith("wer"))].plot(xs, ys, label=name)
    for panel, title in zip(panels, ("loss", "word error rate"), strict=True):
        panel.set_xlabel("step")
        panel.set_title(title)
        if panel.lines:
            panel.legend()
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)
