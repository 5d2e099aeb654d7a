"""Found codes as a heat map: lengths down, depths across."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_audiokv.eval.codes import CodeCell
from edge_audiokv.eval.plots.common import load_pyplot, save


def plot_codes(cells: Sequence[CodeCell], path: Path) -> None:
    """Write `path` (png, svg, pdf). Raises MissingExtraError without matplotlib, or OutputError."""
    pyplot = load_pyplot()
    joined = [cell for cell in cells if cell.seconds]
    lengths_s = sorted({cell.seconds for cell in joined})
    depths = sorted({cell.depth for cell in joined})
    share = np.full((len(lengths_s), len(depths)), np.nan)
    figure, axis = pyplot.subplots(
        figsize=(1.6 + 0.9 * len(depths), 1.6 + 0.6 * len(lengths_s)), layout="constrained"
    )
    for cell in joined:
        row, column = lengths_s.index(cell.seconds), depths.index(cell.depth)
        share[row, column] = cell.right
        axis.text(column, row, f"{cell.right:.0%}\nof {cell.tries}", ha="center", va="center")
    axis.imshow(share, cmap="RdYlGn", vmin=0, vmax=1, aspect="auto", alpha=0.8)
    axis.set_xticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    axis.set_yticks(range(len(lengths_s)), [f"{length_s:g} s" for length_s in lengths_s])
    axis.set_xlabel("where the code was said, from the beginning to the end")
    axis.set_ylabel("length")
    axis.set_title("codes found")
    save(figure, path, dpi=100)
