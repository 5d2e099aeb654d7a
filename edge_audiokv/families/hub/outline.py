"""A checkpoint without its weights: shapes and types are there, numbers are not.

It is enough to say what a conversion will make and cost, or why there is none, before anything
large is fetched.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_audiokv.families.hub import choice
from edge_audiokv.families.hub.faults import told
from edge_audiokv.families.hub.repository import Repository, endpoint, network


@contextmanager
def outline(repository: Repository, folder: Path) -> Iterator[Path]:
    """A folder like the cache's `folder` will be; weights are holes of their size.

    Raises DownloadError.
    """
    names = choice.weight_files(folder, repository.sizes, str(repository.name))
    with tempfile.TemporaryDirectory(prefix="edge-audiokv-") as scratch:
        made = Path(scratch) / repository.name.repository.rpartition("/")[2]
        made.mkdir()
        for file in folder.rglob("*"):
            place = made / file.relative_to(folder)
            if file.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif not file.name.endswith(".safetensors"):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(file.resolve())
        for name in names:
            if (folder / name).exists():
                (made / name).symlink_to((folder / name).resolve())
            else:
                _write_holes(made / name, _header(repository, name), repository.sizes[name])
        yield made


def _header(repository: Repository, name: str) -> dict[str, object]:
    from huggingface_hub import HfApi

    with network(), told(repository.name):
        found = HfApi(endpoint=endpoint()).parse_safetensors_file_metadata(
            repository.name.repository, name, revision=repository.commit
        )
    return {
        tensor: {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": list(info.data_offsets),
        }
        for tensor, info in found.tensors.items()
    }


def _write_holes(path: Path, header: dict[str, object], size_bytes: int) -> None:
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        # The header may be longer here than there; no number is ever read.
        stream.truncate(size_bytes + len(text))
