"""What every plot needs: matplotlib, imported when it is wanted, and a file to draw into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_audiokv.errors import MissingExtraError, OutputError
from edge_audiokv.files import growing


def load_pyplot() -> Any:
    """matplotlib's pyplot, which draws into files alone. Raises MissingExtraError."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError(
            "Plots need matplotlib.", cure="Run `pip install 'edge-audiokv[eval]'`."
        ) from None
    return pyplot


def save(figure: Any, path: Path, *, dpi: int) -> None:
    """Write a figure (png, svg, pdf), whole or not at all, and close it. Raises OutputError."""
    try:
        with growing(path) as part:
            figure.savefig(part, dpi=dpi)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot write {path}: {error}.", cure="Name a .png file.") from None
    finally:
        load_pyplot().close(figure)
