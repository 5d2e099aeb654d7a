"""What a policy loses against the retained share: one panel a suite, one line a policy, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_audiokv.eval.plots.common import load_pyplot
from edge_audiokv.files import growing

OURS = "audiokv-edge"


@dataclass(frozen=True)
class Panel:
    """`lines`: policy -> (share, value, low, high); `full` is the full cache's value."""

    title: str
    label: str
    full: float | None
    lines: dict[str, list[tuple[float, float, float, float]]]
    logarithmic: bool = False


def plot(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels side by side; our line has a 95 % band. Raises MissingExtraError."""
    pyplot = load_pyplot()
    from matplotlib import ticker
    from PIL import Image  # comes with it

    # One share makes no line.
    panels = [p for p in panels if any(len(line) > 1 for line in p.lines.values())] or panels
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(6 * columns + 1.8, 4.6 * rows),
        squeeze=False,
        layout="constrained",
    )
    names = sorted({name for panel in panels for name in panel.lines})
    colours = pyplot.get_cmap("tab20")
    handles: dict[str, Any] = {}
    for index, axis in enumerate(axes.flat):
        if index >= len(panels):
            axis.set_visible(False)
            continue
        panel = panels[index]
        for number, name in enumerate(names):
            mine = sorted(panel.lines.get(name, []))
            if not mine:
                continue
            share = [100 * point[0] for point in mine]
            wide = name == OURS
            (line,) = axis.plot(
                share,
                [point[1] for point in mine],
                marker="o",
                markersize=3,
                linewidth=3 if wide else 1.2,
                color="black" if wide else colours(number % 20),
                linestyle="-" if number < 20 else "--",
                zorder=3 if wide else 2,
            )
            handles.setdefault(name, line)
            if wide:
                low, high = [p[2] for p in mine], [p[3] for p in mine]
                axis.fill_between(share, low, high, color="black", alpha=0.12)
        if panel.full is not None:
            handles["full cache"] = axis.axhline(panel.full, color="grey", linestyle=":")
        if panel.logarithmic:
            axis.set_yscale("log")
            # Plain numbers: nobody reads a loss as 6 times a tenth.
            plain = ticker.FuncFormatter(lambda value, _: f"{value:g}")
            axis.yaxis.set_major_formatter(plain)
            axis.yaxis.set_minor_formatter(plain)
        axis.set_title(panel.title)
        axis.set_xlabel("retained share of the cache, %")
        axis.set_ylabel(panel.label)
        axis.invert_xaxis()
        axis.grid(alpha=0.3, which="both")
    figure.legend(handles.values(), handles.keys(), fontsize=7, loc="outside right upper")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    pyplot.close(figure)
    with growing(path) as part:
        # A palette makes a third of it: such pictures are committed.
        Image.open(drawn).convert("RGB").quantize(96).save(part, format="png", optimize=True)
