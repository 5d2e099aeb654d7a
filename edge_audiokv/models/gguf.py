"""Read what a GGUF file says about itself, without trusting it and without loading it.

Format: magic "GGUF", u32 version, u64 tensor count, u64 key count, then the keys (string, u32 type,
value) and the tensor table (name, u32 dimensions, u64 each, u32 type, u64 offset), little endian.
Every count and length is checked against what the file can hold before anything is read.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..errors import ModelError

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 256 << 20  # the largest vocabularies seen take about 16 MiB
FIRST_READ_BYTES = 4 << 20
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_DIMS = 4
MAX_LAYERS = 512  # llama.cpp's own bound
KEPT_ARRAY_LENGTH = 1024  # per-layer lists are kept, vocabularies only skipped

_UTF8_BYTES = (*range(1, 0xC0), *range(0xC2, 0xF5))
_F32 = 0
_ALIGNMENT = 32  # of the tensors' data, where a file states none
_STRING, _ARRAY = 8, 9
_ARRAY_TYPE = struct.pack("<I", _ARRAY)
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f",
    7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip

Value = int | float | bool | str | list[int | float | bool]


@dataclass(frozen=True)
class TokenTable:
    """Where a GGUF has the rows of its tokens: `count` rows of `width` numbers of ggml's type
    `kind`, from the file's byte `at` on.
    """

    width: int
    count: int
    kind: int
    at: int


class _Truncated(Exception):
    """The file ends, or a length points, beyond what was read."""


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF says about itself.

    `keys` holds scalars, strings and short arrays (per-layer values); longer arrays and arrays of
    strings are left out. `header_sha256` covers everything before the tensor data.
    """

    path: Path
    version: int
    tensor_count: int
    keys: dict[str, Value]
    file_bytes: int
    header_sha256: str
    vocabulary_length: int = 0
    missing_bytes: int = 0  # of those that UTF-8 holds, not in a vocabulary (with `check_tokens`)
    kinds: tuple[int, ...] = ()  # ggml's number of every tensor's type
    tensor_bytes: dict[str, int] = field(default_factory=dict)  # by name, padding included
    token_table: TokenTable | None = None

    @property
    def block_bytes(self) -> int:
        """Bytes of the layers' tensors; the others are embeddings and output."""
        return sum(size for name, size in self.tensor_bytes.items() if name.startswith("blk."))

    @property
    def architecture(self) -> str:
        return self._text("general.architecture")

    @property
    def is_adapter(self) -> bool:
        return self.keys.get("general.type") == "adapter"

    @property
    def quantisation(self) -> str | None:
        """The type that most weights have, such as "q4_1"; None if the file does not say."""
        from gguf import LlamaFileType  # hundreds of names, for reports alone

        stated = self.keys.get("general.file_type")
        try:
            kind = LlamaFileType(stated if isinstance(stated, int) else -1)
        except ValueError:
            return None
        return kind.name.removeprefix("ALL_").removeprefix("MOSTLY_").lower()

    @property
    def tensor_types(self) -> dict[str, int]:
        """How many tensors have which type, such as {"Q4_K": 210, "F32": 61}; the most first."""
        from gguf import GGMLQuantizationType

        names = {int(kind): kind.name for kind in GGMLQuantizationType}
        counts = Counter(names.get(kind, f"type {kind}") for kind in self.kinds)
        return dict(counts.most_common())

    @property
    def block_count(self) -> int:
        """L, the number of layers."""
        return self._count("block_count")

    @property
    def d_model(self) -> int:
        return self._count("embedding_length")

    @property
    def context_length(self) -> int:
        """Positions that the model was trained on, in tokens."""
        return self._count("context_length")

    @property
    def feed_width(self) -> int:
        """Width of a feed-forward network (the largest layer's, where layers differ)."""
        return self._count("feed_forward_length", 4 * self.d_model)

    @property
    def n_head(self) -> int:
        """Query heads (the largest layer's, where layers differ)."""
        return self._count("attention.head_count")

    @property
    def n_head_kv(self) -> int:
        """H, the KV heads (the largest layer's, where layers differ)."""
        default = self.keys.get(f"{self.architecture}.attention.head_count")
        return self._count("attention.head_count_kv", default)

    @property
    def head_dim(self) -> int:
        """D of a key row."""
        return self._count("attention.key_length", self.d_model // self.n_head)

    @cached_property
    def model_hash(self) -> str:
        """16 hex digits that name this model in head profiles.

        SHA-256 of the header (all metadata, vocabulary, tensor names, shapes, types and offsets)
        and the file's size. Two files that differ in weight values alone share it; whole files are
        verified by `download.ensure`.
        """
        text = f"{self.header_sha256}:{self.file_bytes}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _text(self, key: str) -> str:
        value = self.keys.get(key)
        if not isinstance(value, str) or not value:
            raise ModelError(f"{self.path} names no {key}.", cure="Take another GGUF file.")
        return value

    def _count(self, key: str, default: Value | None = None) -> int:
        value = self.keys.get(f"{self.architecture}.{key}", default)
        if isinstance(value, list):
            value = max((item for item in value if isinstance(item, int)), default=0)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ModelError(
                f"{self.path} has no usable {self.architecture}.{key}.",
                cure="Take a GGUF of a language model.",
            )
        return value


def read_header(path: Path | str, *, check_tokens: bool = False) -> GGUFHeader:
    """The header of the GGUF file at `path`.

    `check_tokens` also looks at every token of the vocabulary, which takes as long again.
    Raises ModelError, one line, if the file is missing, not GGUF, of an unknown version, truncated
    or claims more than it can hold.
    """
    path = Path(path)
    try:
        if path.is_fifo():  # it would be waited for
            raise ModelError(f"Cannot read {path}: it is no file.", cure="Name a GGUF file.")
        with path.open("rb") as stream:
            head = stream.read(FIRST_READ_BYTES)
            stream.seek(0, 2)
            file_bytes = stream.tell()
            if head[:4] != MAGIC:
                raise ModelError(
                    f"{path} is not a GGUF file.", cure="Fetch it again or check the path."
                )
            # Most headers end within the first read; read on only while the parser asks for more.
            while True:
                try:
                    return _parse(path, head, file_bytes, check_tokens)
                except _Truncated as error:
                    limit = min(file_bytes, MAX_HEADER_BYTES)
                    if len(head) >= limit:
                        raise ModelError(
                            f"{path} is truncated or damaged: {error}.", cure="Fetch it again."
                        ) from None
                    stream.seek(0)
                    head = stream.read(min(limit, len(head) * 8))
    except OSError as error:
        raise ModelError(
            f"Cannot read {path}: {error.strerror or error}.", cure="Check the path."
        ) from None


class _Cursor:
    """A bounds-checked reader of the bytes before the tensor data."""

    def __init__(self, data: bytes, file_bytes: int) -> None:
        self.data = data
        self.file_bytes = file_bytes
        self.at = 0

    def skip(self, count: int) -> None:
        if self.at + count > len(self.data):
            raise _Truncated(f"the header goes on past byte {len(self.data)}")
        self.at += count

    def scalar(self, form: str) -> int | float | bool:
        start = self.at
        self.skip(struct.calcsize(form))
        value: int | float | bool = struct.unpack_from(form, self.data, start)[0]
        return value

    def count(self, form: str = "<Q") -> int:
        return int(self.scalar(form))

    def _skip_strings(self, count: int) -> None:
        # Vocabularies make up nearly all of a header: this loop is its cost.
        unpack, data, at, end = struct.Struct("<Q").unpack_from, self.data, self.at, len(self.data)
        for _ in range(count):
            if at + 8 > end:
                break
            at += 8 + unpack(data, at)[0]
        else:
            self.skip(at - self.at)
            return
        raise _Truncated(f"the header goes on past byte {end}")

    def string(self) -> str:
        length = self.count()
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int, path: Path) -> Value | None:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array(path)
        return self.scalar(_form(kind, path))

    def _array(self, path: Path) -> Value | None:
        kind, length = self.count("<I"), self.count()
        if kind == _ARRAY:
            raise _damaged(path, "nested arrays")
        if kind == _STRING:
            if length * 8 > self.file_bytes:
                raise _damaged(path, f"an array of {length} strings")
            self._skip_strings(length)
            return None
        form = _form(kind, path)
        size = struct.calcsize(form)
        if length * size > self.file_bytes:
            raise _damaged(path, f"an array of {length} values")
        start = self.at
        self.skip(length * size)
        if length > KEPT_ARRAY_LENGTH:
            return None
        return [item for (item,) in struct.iter_unpack(form, self.data[start : self.at])]


def _form(kind: int, path: Path) -> str:
    if kind not in _SCALARS:
        raise _damaged(path, f"value type {kind}")
    return _SCALARS[kind]


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} is not a usable GGUF file: {what}.", cure="Fetch it again.")


def _check_tokens(path: Path, data: bytes, start: int) -> int:
    """Refuse a token that is there twice: llama.cpp ends the process. The value is at `start`.

    Returns how many bytes of UTF-8 are no token, neither as they are nor as <0xXX>.
    """
    if data[start : start + 8] != struct.pack("<II", _ARRAY, _STRING):
        raise _damaged(path, "a vocabulary that is no list of texts")
    seen: set[bytes] = set()
    unpack, at, n_empty = struct.Struct("<Q").unpack_from, start + 16, 0
    count = unpack(data, start + 8)[0]
    for _ in range(count):
        end = at + 8 + unpack(data, at)[0]
        # llama.cpp reads them as C strings, and gives empty ones names of their own.
        token = data[at + 8 : end].split(b"\0", 1)[0]
        if token:
            seen.add(token)
        else:
            n_empty += 1
        at = end
    if len(seen) + n_empty != count:
        raise _damaged(path, "a vocabulary that holds a token twice")
    return sum(bytes([byte]) not in seen and b"<0x%02X>" % byte not in seen for byte in _UTF8_BYTES)


def _check_keys(path: Path, keys: dict[str, Value]) -> None:
    """Refuse what llama.cpp would not: it ends the process on these values."""
    for name, value in keys.items():
        if name.endswith(".block_count") and not (
            isinstance(value, int) and 0 < value <= MAX_LAYERS
        ):
            raise _damaged(path, f"{value} layers")
        if name.endswith("epsilon") and not (isinstance(value, float) and 0 <= value < 1):
            raise _damaged(path, f"{name} is {value}")


def _parse(path: Path, data: bytes, file_bytes: int, check_tokens: bool = False) -> GGUFHeader:
    cursor = _Cursor(data, file_bytes)
    cursor.skip(len(MAGIC))
    version = cursor.count("<I")
    if version not in (2, 3):
        raise _damaged(path, f"version {version} (2 and 3 are known)")
    tensor_count, key_count = cursor.count(), cursor.count()
    if key_count > MAX_KEYS or tensor_count > MAX_TENSORS:
        raise _damaged(path, f"{key_count} keys and {tensor_count} tensors")
    keys: dict[str, Value] = {}
    vocabulary_length = missing_bytes = 0
    for _ in range(key_count):
        name = cursor.string()
        start = cursor.at
        value = cursor.value(cursor.count("<I"), path)
        if name == "tokenizer.ggml.tokens" and data[start : start + 4] == _ARRAY_TYPE:
            vocabulary_length = int.from_bytes(data[start + 8 : start + 16], "little")
        if check_tokens and name == "tokenizer.ggml.tokens":
            missing_bytes = _check_tokens(path, data, start)
        if value is not None:
            keys[name] = value
    _check_keys(path, keys)
    places = []
    kinds = []
    table: TokenTable | None = None
    for _ in range(tensor_count):
        name = cursor.string()
        dims = cursor.count("<I")
        if dims > MAX_DIMS:
            raise _damaged(path, f"a tensor of {dims} dimensions")
        sizes = [cursor.count() for _ in range(dims)]
        kind = cursor.count("<I")
        if dims == 1 and kind != _F32:
            raise _damaged(path, f"{name} is a vector of type {kind}, not f32")
        kinds.append(kind)
        places.append((cursor.count(), name))
        if name == "token_embd.weight" and dims == 2:
            table = TokenTable(sizes[0], sizes[1], kind, at=places[-1][0])
    places.sort()
    if places and cursor.at + places[-1][0] >= file_bytes:
        raise ModelError(f"{path} is truncated: tensors are missing.", cure="Fetch it again.")
    if table is not None:
        alignment = max(1, int(float(str(keys.get("general.alignment", _ALIGNMENT)))))
        start = -(-cursor.at // alignment) * alignment
        table = replace(table, at=start + table.at)
    return GGUFHeader(
        path=path,
        version=version,
        tensor_count=tensor_count,
        keys=keys,
        file_bytes=file_bytes,
        header_sha256=hashlib.sha256(data[: cursor.at]).hexdigest(),
        vocabulary_length=vocabulary_length,
        missing_bytes=missing_bytes,
        kinds=tuple(kinds),
        tensor_bytes=_tensor_bytes(places, file_bytes - cursor.at),
        token_table=table,
    )


def _tensor_bytes(places: list[tuple[int, str]], data_bytes: int) -> dict[str, int]:
    """Of offsets in ascending order, and the tensor that begins there."""
    ends = [*(offset for offset, _ in places), data_bytes][1:]
    return {name: end - offset for (offset, name), end in zip(places, ends, strict=True)}
