"""Loss against retained share, one line a policy, as PNG."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_audiokv.errors import MissingExtraError
from edge_audiokv.eval.sweep import Summary


def plot(summaries: Sequence[Summary], path: Path) -> None:
    """Write one panel a protocol; bands are 95 % intervals. Raises MissingExtraError."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError(
            "Plots need matplotlib.", cure="Run `pip install 'edge-audiokv[eval]'`."
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    protocols = list(dict.fromkeys(s.protocol for s in summaries))
    figure, axes = pyplot.subplots(
        1,
        len(protocols),
        figsize=(7.5 * len(protocols) + 1.5, 5.5),
        squeeze=False,
        layout="constrained",
    )
    names = sorted({s.policy for s in summaries if s.share < 1})
    colours = pyplot.get_cmap("tab20")
    for axis, protocol in zip(axes[0], protocols, strict=True):
        for index, name in enumerate(names):
            mine = sorted(
                (s for s in summaries if (s.protocol, s.policy) == (protocol, name)),
                key=lambda s: s.share,
            )
            if not mine:
                continue
            shares = [100 * s.share for s in mine]
            wide = name == "audiokv-edge"
            axis.plot(
                shares,
                [s.nll for s in mine],
                marker="o",
                markersize=3,
                linewidth=3 if wide else 1.2,
                color="black" if wide else colours(index % 20),
                linestyle="-" if index < 20 else "--",
                label=name,
                zorder=3 if wide else 2,
            )
            if wide:
                low, high = [s.nll_low for s in mine], [s.nll_high for s in mine]
                axis.fill_between(shares, low, high, color="black", alpha=0.12)
        full = [s for s in summaries if s.protocol == protocol and s.share >= 1]
        if full:
            axis.axhline(full[0].nll, color="grey", linestyle=":", label="full cache")
        axis.set_title(protocol)
        axis.set_xlabel("retained share of the cache, %")
        axis.invert_xaxis()
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("nats per token of the reference")
    axes[0, -1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    part = path.with_name(path.name + ".part")
    figure.savefig(part, format="png", dpi=110)
    pyplot.close(figure)
    os.replace(part, path)
