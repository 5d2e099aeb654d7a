"""Weights that are compared: the best that a model has, and quantised files made of them once.

    FOLDER/<12 digits of model and library>/base.gguf, Q8_0.gguf, ...

An adapter is merged first, into f16 weights, since types are compared and not adapters. Files stay
for the next run; each is checked against what it was when it was made. With an importance matrix
the folder is another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from edge_audiokv.errors import EdgeAudioKVError, InputError
from edge_audiokv.eval.quants.grid import BASE
from edge_audiokv.models.cache import alone_in, cache_directory, file_sha256
from edge_audiokv.models.download import LocalModel, check_space
from edge_audiokv.models.gguf import read_header
from edge_audiokv.models.merge import merge
from edge_audiokv.models.merged import is_sound, seal
from edge_audiokv.native.library import describe_library
from edge_audiokv.native.quantize import quantize

Progress = Callable[[str, int, int], None]
"""Called with what is made, the steps so far and all steps."""
FULL_TYPES = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Weights:
    """One file. `type` is what most of its weights are kept in; `tensors` counts them all."""

    name: str
    type: str
    path: Path
    file_bytes: int
    sha256: str
    tensors: dict[str, int]
    imatrix: bool


@dataclass(frozen=True)
class Quants:
    """Where the weights of one model lie or will lie."""

    local: LocalModel
    folder: Path
    imatrix: Path | None = None

    @classmethod
    def of(cls, local: LocalModel, folder: Path | None, imatrix: Path | None = None) -> Quants:
        # Another llama.cpp may round otherwise.
        text = f"{local.model_hash}:{describe_library()}"
        if imatrix is not None:
            text += f":{file_sha256(imatrix)}"
        root = cache_directory() / "quants" if folder is None else folder
        return cls(local, root / sha256(text.encode()).hexdigest()[:12], imatrix)

    @property
    def came_in(self) -> str:
        """The type that the LLM's weights came in."""
        return (self.local.gguf.quantisation or "unknown").upper()

    @property
    def note(self) -> str:
        """What the base is, in a sentence: nothing can be told of what was lost before it."""
        merged = " with its adapter merged into F16" if self.local.lora_path is not None else ""
        if self.local.gguf.quantisation in FULL_TYPES:
            return f"The base is the LLM in {self.came_in}{merged}."
        return (
            f"The base is the LLM in {self.came_in}{merged}, the best that is here: what "
            f"{self.came_in} itself has lost is not seen."
        )

    def path(self, name: str) -> Path:
        if name == BASE and self.local.lora_path is None:
            return self.local.gguf_path
        return self.folder / f"{name}.gguf"

    def sizes(self, names: list[str]) -> dict[str, int]:
        """Bytes of each file, of those that are still to be made as the quantiser foretells them.

        Raises InputError with all types that cannot be made.
        """
        found, faults = {}, []
        # The shapes are those of any file of the model.
        source = self.local.llm_paths[0]
        for name in names:
            if self._is_here(name):
                found[name] = self.path(name).stat().st_size
                continue
            try:
                made = quantize(
                    source,
                    self.path(name),
                    "F16" if name == BASE else name,
                    imatrix=self.imatrix,
                    dry_run=True,
                )
            except EdgeAudioKVError as error:
                faults.append(f"{name}: {error.what}")
                continue
            found[name] = made.file_bytes
            if made.needs_imatrix:
                faults.append(f"{name} needs an importance matrix")
        if faults:
            raise InputError(
                f"cannot be made: {'; '.join(faults)}.", cure="Leave these out of --types."
            )
        return found

    def missing_bytes(self, sizes: dict[str, int]) -> int:
        """What of `sizes` is still to be written."""
        return sum(size for name, size in sizes.items() if not self._is_here(name))

    def make(self, sizes: dict[str, int], threads: int, progress: Progress) -> dict[str, Weights]:
        """All files of `sizes`, the base first; those that are here and whole stay as they are.

        Raises ModelError, OutputError, DownloadError if there is no room, OSError.
        """
        with alone_in(self.folder):
            check_space(self.folder, self.missing_bytes(sizes), "--quants-dir")
            for name in sizes:
                if not self._is_here(name):
                    self._make(name, threads, progress)
        return {name: self._describe(name) for name in sizes}

    def _is_here(self, name: str) -> bool:
        path = self.path(name)
        return path == self.local.gguf_path or is_sound(path)

    def _make(self, name: str, threads: int, progress: Progress) -> None:
        path = self.path(name)

        def report(done: int, total: int) -> None:
            progress(f"make {name}", done, total)

        if name == BASE and self.local.lora_path is not None:
            merge(self.local.gguf_path, self.local.lora_path, path, report, kind="f16")
        else:
            quantize(
                self.path(BASE),
                path,
                name,
                imatrix=self.imatrix,
                threads=threads,
                progress=report,
            )
        seal(path)

    def _describe(self, name: str) -> Weights:
        path = self.path(name)
        header = read_header(path)
        return Weights(
            name,
            (header.quantisation or "unknown").upper(),
            path,
            header.file_bytes,
            file_sha256(path),
            header.tensor_types,
            any(key.startswith("quantize.imatrix") for key in header.keys),
        )
