"""The models that edge_audiokv knows by name, and any directory that holds a `model.toml`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ..errors import ModelError
from .entry import ModelEntry, read_entry

DEFAULT_MODEL = "smollm2-audio"
TOML_NAME = "model.toml"


def catalog_directory() -> Path:
    """Where the entries lie: inside an installed package, or `models/` of a source checkout."""
    here = Path(__file__).resolve().parent
    installed, checkout = here / "data", here.parents[1]
    # Only a checkout of this project has a pyproject.toml beside; site-packages does not.
    if not installed.is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "models"
    return installed


def list_models() -> list[ModelEntry]:
    """All entries of the catalog, by name. Raises ModelError if one is damaged."""
    paths = sorted(catalog_directory().glob(f"*/{TOML_NAME}"))
    return sorted((read_entry(path) for path in paths), key=lambda entry: entry.name)


def resolve(name_or_dir: str | Path = DEFAULT_MODEL) -> ModelEntry:
    """The entry for a catalog name, a directory with a model.toml, or such a file itself.

    Raises ModelError, with the known names, if there is none.
    """
    # os.path: a name that no file system takes is no file, where pathlib's methods raise.
    path = Path(os.path.expanduser(name_or_dir))
    if os.path.isfile(path / TOML_NAME):
        return read_entry(path / TOML_NAME)
    if os.path.isfile(path) and path.suffix == ".toml":
        return read_entry(path)
    if os.path.isfile(path):
        raise ModelError(
            f"{path} is a single file; a model is an encoder, a GGUF and a prompt.",
            cure=f"Put them in a directory with a {TOML_NAME} and give its path.",
        )
    name = str(name_or_dir)
    entries = {entry.name: entry for entry in list_models()}
    if name in entries:
        return entries[name]
    if os.path.isdir(path):
        raise ModelError(
            f"{path} has no {TOML_NAME}.", cure="models/README.md shows how to write one."
        )
    close = difflib.get_close_matches(name, entries, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise ModelError(
        f"No model is called {name!r}.",
        cure=f"{hint}Known: {', '.join(entries) or 'none'}; or give a directory "
        f"with a {TOML_NAME}.",
    )
