"""While a model is loaded: how far it is, and a word to who breaks off there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from edge_audiokv.cli import voice
from edge_audiokv.cli.ending import Terminated
from edge_audiokv.models.download import Progress
from edge_audiokv.models.progress import progress_bar


@contextmanager
def loading(console: Console, name: str, *, missed: str = "written") -> Iterator[Progress]:
    """`progress_bar` for the model `name`; who breaks off is told that nothing was `missed`."""
    with broken_off_tells(missed), progress_bar(console, loading=name) as report:
        yield report


@contextmanager
def broken_off_tells(missed: str) -> Iterator[None]:
    """Who breaks off before all is loaded is told, once, that nothing was `missed`."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        voice.broken_off(f" while the model was loading: nothing was {missed}.")
        raise
