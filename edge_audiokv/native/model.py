"""A GGUF language model: weights, vocabulary and what a cache for it looks like."""

from __future__ import annotations

import ctypes
import platform
import re
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from edge_audiokv.errors import ModelError, NativeError
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.lifetime import Loadable
from edge_audiokv.models.gguf import GGUFHeader, read_header
from edge_audiokv.native import bindings
from edge_audiokv.native.compute import ComputeDevice, find_device, no_device
from edge_audiokv.native.guarding import exclusive, int32
from edge_audiokv.native.library import Library, load
from edge_audiokv.native.threads import Callers

# What llama.cpp computes with as it lies in the file. Of other types it makes a copy in another
# order, and mapped pages of the file would stay beside it (measured: 640 MB for 394).
_AS_IN_THE_FILE = {"f32", "f16", "bf16"}
_AS_IN_THE_FILE_ON_X86 = {"q4_1", "q5_0", "q5_1", "q8_0"}
_ROPE_SECTIONS = {8: 4, 24: 4, 40: 4}  # M-RoPE, vision and interleaved M-RoPE: ids per position

ALL_LAYERS = -1


class Model(Loadable):
    """Weights of a GGUF file, with an optional LoRA adapter that every context of it applies.

    The last `n_gpu_layers` layers (the output counts as one more, ALL_LAYERS is all) go to
    `device`, or to the first there is. With `use_mmap` the weights are pages of the file, which the
    kernel may drop and read again; else they are private memory. By default that is so where it
    takes no more memory.
    What it writes up to `answer_after` is not part of its answer, nor is what stands between the
    two characters `answer_tags`. Any thread may call.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        lora: Path | str | None = None,
        n_gpu_layers: int = 0,
        device: ComputeDevice | None = None,
        use_mmap: bool | None = None,
        answer_after: str = "",
        answer_tags: str = "",
    ) -> None:
        self.path = Path(path)
        self.lora = Path(lora) if lora is not None else None
        self.n_gpu_layers = int32(n_gpu_layers, "n_gpu_layers")
        self.device = device if self.n_gpu_layers else None
        self.use_mmap = use_mmap
        self.answer_after = answer_after
        self.answer_tags = answer_tags
        self._library: Library | None = None
        self._model: Any = None
        self._adapter: Any = None
        self.lock = threading.RLock()
        # Contexts of these weights share the cores, when several compute at once.
        self.callers = Callers()
        self._contexts: weakref.WeakSet[Loadable] = weakref.WeakSet()

    @exclusive
    def load(self) -> Self:
        """Read the weights. Raises ModelError for a missing, truncated or foreign file, and
        NativeError if layers should go to a device and there is none.
        """
        if self._model is not None:
            return self
        headers = []
        for path, what in ((self.path, "model"), (self.lora, "LoRA adapter")):
            if path is not None and not path.is_file():
                raise ModelError(f"There is no {what} at {path}.", cure="Check the path.")
            if path is not None:
                # Our reader refuses; llama.cpp takes some damage for a programmer's error and ends
                # the process.
                headers.append(read_header(path, check_tokens=True))
        library = load()
        llama = library.llama
        if self.n_gpu_layers and self.device is None:
            self.device = find_device("auto")
            if self.device is None:
                raise no_device("There is no device for layers of the LLM", [])

        params = llama.llama_model_default_params()
        params.n_gpu_layers = self.n_gpu_layers
        # Without a list llama.cpp takes every device it sees, for large batches even of layers that
        # stay on the CPU.
        handles = (ctypes.c_void_p * 2)(self.device.handle if self.device else None, None)
        params.devices = ctypes.cast(handles, ctypes.c_void_p)
        use_mmap = self.use_mmap
        if use_mmap is None:
            # What a device holds is a copy.
            use_mmap = self.device is None and _takes_mmap(headers[0])
        params.load_mode = llama.LLAMA_LOAD_MODE_MMAP if use_mmap else 0
        library.complaints.clear()
        model = llama.llama_model_load_from_file(str(self.path).encode(), params)
        if not model:
            raise ModelError(
                f"{self.path} cannot be loaded: {_why(library)}.",
                cure="Fetch it again, or use a model that llama.cpp supports.",
            )
        if self.lora is not None:
            library.complaints.clear()
            self._adapter = llama.llama_adapter_lora_init(model, str(self.lora).encode())
            if not self._adapter:
                llama.llama_model_free(model)
                raise ModelError(
                    f"The LoRA adapter {self.lora} cannot be used with {self.path.name}:"
                    f" {_why(library)}.",
                    cure="Use the adapter that was trained for this model.",
                )
        self._library, self._model = library, model
        return self

    def close(self) -> None:
        """Free the weights, the adapter and every context of them, once their calls are over."""
        while True:
            with self.lock:
                contexts = list(self._contexts)
                if not contexts:
                    model, self._model, self._adapter = self._model, None, None
                    if model is not None and self._library is not None:
                        self._library.llama.llama_model_free(model)
                    return
            # Without our own lock: a context in the middle of a call may want to ask us something.
            for context in contexts:
                context.close()
                self.forget(context)

    @contextmanager
    def opening(self, context: Loadable) -> Iterator[None]:
        """Within, `context` is made of these weights; they stay until it is closed.

        Raises NativeError if the model is not loaded.
        """
        with self.lock:
            self._need()
            yield
            self._contexts.add(context)

    def forget(self, context: Loadable) -> None:
        """`context` is closed: the weights may go without it."""
        with self.lock:
            self._contexts.discard(context)

    @property
    def library(self) -> Library:
        if self._library is None:
            raise NativeError("The model is not loaded.", cure="Call load() first.")
        return self._library

    @property
    def handle(self) -> Any:
        """llama_model pointer."""
        return self._need()

    @property
    def adapter(self) -> Any:
        """llama_adapter_lora pointer, or None."""
        self._need()
        return self._adapter

    def _need(self) -> Any:
        if self._model is None:
            raise NativeError("The model is not loaded.", cure="Call load() first.")
        return self._model

    @property
    def holds_cache_on_device(self) -> bool:
        """All layers are on a device, and caches of this model's contexts can be there, too."""
        return self.device is not None and not 0 <= self.n_gpu_layers <= self.shape.n_layer

    @property
    def nbytes(self) -> int:
        """Bytes of the weights, and of the adapter's file if there is one."""
        lora = self.lora.stat().st_size if self.lora is not None else 0
        return int(self.library.llama.llama_model_size(self.handle)) + lora

    @property
    @exclusive
    def device_nbytes(self) -> int:
        """Bytes of the weights in a device's own memory; 0 if it shares the machine's."""
        if self.device is None or self.device.unified:
            return 0
        size = ctypes.c_uint64()
        if self.library.hw.model_device_bytes(self._need(), ctypes.byref(size)) != bindings.OK:
            raise NativeError(f"{self.library.hw.message()}.")
        return size.value

    @cached_property
    def shape(self) -> KVShape:
        """What a head-wise cache of this model looks like, with f16 rows.

        Raises ModelError with the reason if the architecture cannot have one.
        """
        shape, hw = bindings.Shape(), self.library.hw
        if hw.model_shape(self.handle, ctypes.byref(shape)) != bindings.OK:
            raise ModelError(
                f"{self.path.name}: {hw.message()}.",
                cure="Use a model with plain full attention (Llama, Qwen2, Qwen3, SmolLM, ...).",
            )
        return KVShape(shape.n_layer, shape.n_head_kv, shape.n_group, shape.head_dim)

    @property
    def n_embd(self) -> int:
        """Width of an embedding that decode_embeddings takes."""
        return int(self.library.llama.llama_model_n_embd_inp(self.handle))

    @property
    def n_vocab(self) -> int:
        llama = self.library.llama
        return int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.handle)))

    @property
    def n_ctx_train(self) -> int:
        """Positions the model was trained on, in tokens."""
        return int(self.library.llama.llama_model_n_ctx_train(self.handle))

    @property
    def n_position_ids(self) -> int:
        """Ids per position: 4 for M-RoPE models, else 1."""
        return _ROPE_SECTIONS.get(int(self.library.llama.llama_model_rope_type(self.handle)), 1)

    @property
    def description(self) -> str:
        """Architecture, size and type in a few words."""
        return self._text("llama_model_desc")

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's scalar metadata, keys and values as text."""
        llama = self.library.llama
        return {
            self._text("llama_model_meta_key_by_index", index): self._text(
                "llama_model_meta_val_str_by_index", index
            )
            for index in range(llama.llama_model_meta_count(self.handle))
        }

    @property
    def _vocab(self) -> Any:
        """The vocabulary; llama.cpp ends the process if one without texts is asked for any."""
        llama = self.library.llama
        vocab = llama.llama_model_get_vocab(self.handle)
        if llama.llama_vocab_type(vocab) == llama.LLAMA_VOCAB_TYPE_NONE:
            raise ModelError(
                f"{self.path.name} has no vocabulary, so that no text can be read or written.",
                cure="Take a GGUF of a language model with its tokenizer.",
            )
        return vocab

    @exclusive
    def _text(self, function: str, *args: int) -> str:
        call = getattr(self.library.llama, function)
        buffer = ctypes.create_string_buffer(256)
        need = call(self.handle, *args, buffer, len(buffer))
        if need >= len(buffer):
            buffer = ctypes.create_string_buffer(need + 1)
            call(self.handle, *args, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @exclusive
    def tokenize(self, text: str, *, special: bool = True, bos: bool = False) -> list[int]:
        """Token ids of `text`. `special` reads markers such as <|im_end|>; `bos` adds the model's
        own first token."""
        raw = text.encode("utf-8", "replace")  # names and arguments may hold lone surrogates
        size = len(raw) + 8
        while True:
            ids = (ctypes.c_int32 * size)()
            n = self.library.llama.llama_tokenize(
                self._vocab, raw, len(raw), ids, size, bos, special
            )
            if n >= 0:
                return list(ids[:n])
            if -n <= size:
                raise NativeError("The text could not be tokenized.", code=n)
            size = -n

    @exclusive
    def piece(self, token: int) -> bytes:
        """Bytes of one token, at times part of a UTF-8 character; the marker of a special token."""
        token = self._known(token)
        buffer = ctypes.create_string_buffer(64)
        call = self.library.llama.llama_token_to_piece
        n = call(self._vocab, token, buffer, len(buffer), 0, True)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = call(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[:n]

    @exclusive
    def is_end_of_generation(self, token: int) -> bool:
        """Does this token end a turn or a text?"""
        known = self._known(token)
        return bool(self.library.llama.llama_vocab_is_eog(self._vocab, known))

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int:
        """Index in `ids` at which the answer begins: after `answer_after`, or at once without it.

        While a text is `growing` the marker may still come, and there is no answer before it.
        """
        marker = self._answer_marker
        for start in range(len(ids) - len(marker) + 1 if marker else 0):
            if tuple(ids[start : start + len(marker)]) == marker:
                return start + len(marker)
        return len(ids) if marker and growing else 0

    @cached_property
    def _answer_marker(self) -> tuple[int, ...]:
        return tuple(self.tokenize(self.answer_after)) if self.answer_after else ()

    def _known(self, token: int) -> int:
        token = int32(token, "The token")
        if not 0 <= token < self.n_vocab:
            raise NativeError(f"There is no token {token}: the vocabulary has {self.n_vocab}.")
        return token


def _takes_mmap(header: GGUFHeader) -> bool:
    on_x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    types = _AS_IN_THE_FILE | (_AS_IN_THE_FILE_ON_X86 if on_x86 else set())
    return header.quantisation in types


def _why(library: Library) -> str:
    """The most telling of llama.cpp's complaints, without its function names."""
    lines = [re.sub(r"^\w+: ", "", line) for line in library.complaints]
    telling = [line for line in lines if "error loading model" in line or "rror" in line]
    line = (telling or lines or ["llama.cpp gave no reason"])[0]
    return re.sub(r"^(error loading model: |failed to .*?: )+", "", line).rstrip(".")
