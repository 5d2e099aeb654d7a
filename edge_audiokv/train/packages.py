"""Files inside installed packages, found without importing (and so running) the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from edge_audiokv.errors import MissingExtraError


def package_folder(module: str, wheel: str) -> Path:
    """Where a package's files lie; `wheel` is what to install when it is missing."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"{module} is not installed.", cure=f"pip install --no-deps {wheel}"
        )
    return Path(spec.submodule_search_locations[0])
