"""What is done of a conversion, written down so that a run that was broken off is taken up.

    PART/done.json     the job that it is, and of each step that is done its files with their hashes
    PART/model/        what was made

A step counts if every file of it is as it was; what no step names was being written, and goes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_audiokv.families.growing import JOURNAL
from edge_audiokv.families.plan import Plan
from edge_audiokv.families.sdist import read_pin
from edge_audiokv.files import read_bounded, write_whole
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.models.fingerprint import fingerprint

Progress = Callable[[str, int, int], None]
_WEIGHTS = ".safetensors"
# What else of a checkpoint is read.
_READ = (".json", ".jinja", ".txt", ".model")
_MADE_BY = ("edge-audiokv", "torch", "transformers", "onnx", "onnxruntime", "gguf", "safetensors")
_MOST_JOURNAL_BYTES = 1 << 20


def job_of(plan: Plan, **options: str) -> str:
    """64 hex digits that change with the input, the options, and the programs that do the work.

    Weights are told apart by blocks from all over them and by when they were written. Raises
    OSError.
    """
    digest = hashlib.sha256(plan.family.encode())
    for folder in sorted({plan.folder, plan.language.checkpoint.folder, *plan.others}):
        for path in sorted(folder.iterdir()):
            if path.suffix == _WEIGHTS:
                what = f"{fingerprint(path)} {path.stat().st_mtime_ns}"
            elif path.suffix in _READ and path.is_file():
                what = file_sha256(path)
            else:
                continue
            digest.update(f"\n{path.name} {what}".encode(errors="surrogateescape"))
        digest.update(b"\n")
    made_by = {name: _version(name) for name in _MADE_BY}
    digest.update(json.dumps([options, made_by, read_pin()], sort_keys=True).encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # of a checkout
        return ""


class Steps:
    """The steps of the job `job` whose files lie in `folder`."""

    def __init__(self, folder: Path, job: str, progress: Progress) -> None:
        self.folder, self.job, self.progress = folder, job, progress
        self._path = folder.parent / JOURNAL
        self._done: dict[str, Any] = {}
        self._take_up()

    def __call__(self, name: str, make: Callable[[], Sequence[Path]]) -> dict[str, str]:
        """SHA-256 of each file of a step, by name; `make` makes them, unless that is done.

        Raises what `make` raises, and OSError.
        """
        if name not in self._done:
            made = make()
            self._done[name] = {"files": {path.name: file_sha256(path) for path in made}}
            self._write()
        hashes: dict[str, str] = self._done[name]["files"]
        return hashes

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file that is done, by name."""
        return {
            file: digest for step in self._done.values() for file, digest in step["files"].items()
        }

    def note(self, name: str, fact: float) -> None:
        """Keep a number with the step `name`."""
        self._done[name]["fact"] = fact
        self._write()

    def fact(self, name: str) -> float | None:
        """The number that was kept, or None."""
        value = self._done.get(name, {}).get("fact")
        return float(value) if isinstance(value, int | float) else None

    def forget(self, name: str) -> None:
        """Delete the files of a step that nothing needs any more."""
        for file in self._done.pop(name, {}).get("files", {}):
            (self.folder / file).unlink(missing_ok=True)
        self._write()

    def _write(self) -> None:
        write_whole(self._path, json.dumps({"job": self.job, "steps": self._done}, indent=1))

    def _take_up(self) -> None:
        """Keep what is done and whole, and remove the rest."""
        try:
            data = json.loads(read_bounded(self._path, _MOST_JOURNAL_BYTES))
            written = data["steps"] if data["job"] == self.job else {}
            files = {
                (name, file): str(digest)
                for name, step in written.items()
                for file, digest in step["files"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            written, files = {}, {}
        broken = set()
        for at, ((name, file), digest) in enumerate(files.items()):
            self.progress("verify what was done before", at, len(files))
            path = self.folder / file
            whole = Path(file).name == file and path.is_file() and not path.is_symlink()
            if not whole or file_sha256(path) != digest:
                broken.add(name)
        self._done = {name: step for name, step in written.items() if name not in broken}
        kept = {file for step in self._done.values() for file in step["files"]}
        for path in self.folder.iterdir():
            if path.name in kept:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
