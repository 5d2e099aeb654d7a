"""A picture of a head profile: one panel a table, layers down, KV heads across."""

from __future__ import annotations

from pathlib import Path

from edge_audiokv.errors import MissingExtraError
from edge_audiokv.files import growing
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.output.place import writing


def draw(profile: HeadProfile, path: Path) -> None:
    """Write a PNG. Raises MissingExtraError without matplotlib, OutputError."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError(
            "Drawing the heat map needs matplotlib.",
            cure="Run `pip install 'edge-audiokv[eval]'`, or leave --plot out.",
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted(profile.tables)
    figure, axes = pyplot.subplots(
        1, len(names), figsize=(2.6 * len(names) + 0.6, 6), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[0], names, strict=True):
        table = profile.tables[name]
        image = axis.imshow(table, aspect="auto", cmap="magma", interpolation="nearest")
        axis.set_title(name)
        axis.set_xlabel("KV head")
        axis.set_xticks(range(table.shape[1]))
        axis.set_yticks(range(0, table.shape[0], 2))
        figure.colorbar(image, ax=axis, shrink=0.6)
    axes[0, 0].set_ylabel("layer")
    figure.suptitle(f"Head profile of {profile.model}", fontsize=10)
    with writing(path), growing(path) as part:
        figure.savefig(part, format="png", dpi=110)
    pyplot.close(figure)
