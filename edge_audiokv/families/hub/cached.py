"""A checkpoint that the hub's cache holds already."""

from __future__ import annotations

from pathlib import Path

from edge_audiokv.families import adapter
from edge_audiokv.families.hub import choice
from edge_audiokv.families.hub.faults import Unreachable
from edge_audiokv.families.hub.name import HubName
from edge_audiokv.families.hub.repository import cache_directory
from edge_audiokv.families.tensors import INDEX, SINGLE, read_json


def cached(name: HubName) -> tuple[Path, str]:
    """The folder of the cache with all that is needed of `name`, and its commit.

    Nothing is asked. Raises DownloadError if something is missing there.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        name.repository, choice.CONFIG, cache_dir=cache_directory(), revision=name.revision
    )
    if not isinstance(found, str):
        raise Unreachable(
            f"{name} is no folder, and not in {cache_directory()}.",
            cure="Fetch it with a network (without EDGE_AUDIOKV_OFFLINE and HF_HUB_OFFLINE), or"
            " give a local folder.",
        )
    folder = Path(found).parent
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    half = Unreachable(
        f"Only a part of {name} is in {cache_directory()}.",
        cure="The same command with a network (without EDGE_AUDIOKV_OFFLINE and HF_HUB_OFFLINE)"
        " fetches the rest.",
    )
    if INDEX not in sizes and SINGLE not in sizes:
        raise half
    choice.small_files(sizes, str(name))
    adapters = [place + adapter.WEIGHTS for place in choice.ADAPTERS]
    names = choice.weight_files(folder, {*sizes, *_named(folder), *adapters}, str(name))
    if not all((folder / weights).is_file() for weights in names):
        raise half
    return folder, folder.name


def _named(folder: Path) -> list[str]:
    """What the index names; whether it is here is asked later."""
    if not (folder / INDEX).is_file():
        return []
    places = read_json(folder / INDEX).get("weight_map")
    return [name for name in places.values() if isinstance(name, str)] if places else []
