"""What a person chooses for an engine, in one frozen record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from edge_audiokv.errors import InputError
from edge_audiokv.kv.memory import total_memory_bytes
from edge_audiokv.native.threads import default_threads, usable_cores
from edge_audiokv.units import clipped, parse_bytes, parse_share

DEFAULT_MEM = "2GB"
# No process of this kind is smaller: a bare number below it lacks its unit.
LEAST_CAP_BYTES = 1_000_000
# More are a vocabulary, which no reader can expect at once.
_MOST_HOTWORDS, _MOST_HOTWORD_CHARS = 100, 60
_ROW_TYPES = ("f16", "q8_0", "q4_0")
LAYER_WORDS = ("all", "auto")
KV_DEVICES = ("auto", "cpu")


@dataclass(frozen=True)
class EngineSettings:
    """Model, memory and cache policy.

    model       catalog name, or a directory with a model.toml
    mem         cap of the whole process: "2GB", "1GiB", "50%", or bytes as a whole number
    kv_policy   name of an eviction policy
    kv_share    rows kept by eviction, as a share of the rows seen, in (0, 1]: 0.4, "40%"
    kv_options  options of the policy, by name
    type_k      rows of keys: f16, q8_0 or q4_0
    type_v      rows of values: f16, q8_0 or q4_0
    word_weight how much the words count that the encoder believes in; None takes the model's own,
                0 leaves all to the LLM
    branches    close calls in a final text that are decided otherwise, to see if the text gets more
                likely; 0 decodes greedily
    threads     threads for encoder and LLM; None takes `default_threads`: physical cores, at most 4
    provider    where onnxruntime runs the encoder: cpu, cuda, tensorrt, coreml
    compute     what the LLM computes on: "cpu", "auto" (a device, if there is one), or a name that
                `edge-audiokv devices --compute` lists; None: the CPU unless gpu_layers asks
    gpu_layers  layers of the LLM that go to that device, the last first: a number, "all", or "auto"
                for those that fit; None: auto if compute names a device
    gpu_mem     cap of the memory that is the device's own, written as mem is; None: what is free
                there, less a margin. A device that shares the machine's memory is under mem alone
    kv_device   where the cache lies if all layers are on a device: "auto", beside them, or "cpu",
                in the machine's memory, where its rows are then attended to
    language    what is spoken, such as "en" or "German": refused if the model does not list it;
                None leaves it to the model, with a warning where the speech sounds like another
    translate   the language that finals are to be written in, such as "en" or "German", in place of
                what is spoken: refused if the model has no way of its own of translating to it
    hotwords    words that are expected, such as names, spelt as they should be written: a sequence,
                or a text with commas between them; for models with a reader
    word_timestamps
                finals tell their words with times, and how sure they are
    plain_text  finals are words as the LLM writes them, without the capitals and marks that the
                model's reader knows
    """

    model: str = "smollm2-audio"
    mem: str = DEFAULT_MEM
    kv_policy: str = "audiokv-edge"
    kv_share: float = 1.0
    kv_options: Mapping[str, Any] = field(default_factory=dict)
    type_k: str = "f16"
    type_v: str = "f16"
    word_weight: float | None = None
    branches: int = 0
    threads: int | None = None
    provider: str = "cpu"
    compute: str | None = None
    gpu_layers: int | str | None = None
    gpu_mem: str | None = None
    kv_device: str = "auto"
    language: str | None = None
    translate: str | None = None
    hotwords: str | Sequence[str] = ()
    word_timestamps: bool = False
    plain_text: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for what no engine can do; names are looked up by `load()`.

        Numbers may come as texts, as files of settings and environments hold them.
        """
        self._read_texts()
        if not isinstance(self.model, str | PathLike):
            raise _wrong("model", self.model, "Give a name or a directory.")
        for name in ("mem", "kv_policy", "type_k", "type_v", "provider"):
            if not isinstance(getattr(self, name), str):
                raise _wrong(name, getattr(self, name), "Write it as a text.")
        _check_size("mem", self.mem)
        if not isinstance(self.kv_share, float):
            raise _wrong("kv_share", self.kv_share, "Use more than 0 and at most 1.")
        weight = self.word_weight
        if weight is not None and not (_is_number(weight) and 0 <= weight <= 10):
            raise _wrong("word_weight", weight, "Use 0 to 10, or None for the model's own.")
        if not _is_whole(self.branches) or not 0 <= self.branches <= 64:
            raise _wrong("branches", self.branches, "Use a whole number from 0 to 64.")
        threads = self.threads
        if threads is not None and not (_is_whole(threads) and 1 <= threads <= 64):
            raise _wrong("threads", threads, "Use 1 to 64, or None.")
        self._check_compute()
        if not (self.language is None or isinstance(self.language, str)):
            raise _wrong("language", self.language, 'Write a code such as "en", or None.')
        if not (self.translate is None or isinstance(self.translate, str)):
            raise _wrong("translate", self.translate, 'Write a code such as "en", or None.')
        self._read_hotwords()
        for name in ("word_timestamps", "plain_text"):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "Use True or False.")
        options: object = self.kv_options
        if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
            raise _wrong("kv_options", self.kv_options, 'Write {"name": value}.')
        for name in ("type_k", "type_v"):
            if getattr(self, name) not in _ROW_TYPES:
                raise _wrong(name, getattr(self, name), f"Use one of {', '.join(_ROW_TYPES)}.")

    def _check_compute(self) -> None:
        name: object = self.compute
        if name is not None and not (isinstance(name, str) and name.strip()):
            raise _wrong("compute", name, "Use cpu, auto or the name of a device.")
        layers: object = self.gpu_layers
        counted = isinstance(layers, int) and _is_whole(layers) and 0 <= layers <= 1000
        if not (layers is None or layers in LAYER_WORDS or counted):
            raise _wrong("gpu_layers", layers, "Use a number from 0 on, all or auto.")
        if layers not in (None, 0, "auto") and self.compute == "cpu":
            raise _wrong("gpu_layers", layers, "compute is cpu: name a device, or leave one out.")
        size: object = self.gpu_mem
        if size is not None:
            if not isinstance(size, str):
                raise _wrong("gpu_mem", size, "Write it as a text, or None.")
            _check_size("gpu_mem", size)
        if self.kv_device not in KV_DEVICES:
            raise _wrong("kv_device", self.kv_device, f"Use {' or '.join(KV_DEVICES)}.")

    def _read_texts(self) -> None:
        """Texts to numbers, and bytes to the text that they are; what is neither stays."""
        for name in ("mem", "gpu_mem"):
            if _is_whole(getattr(self, name)):
                self._put(name, str(getattr(self, name)))
        share: object = self.kv_share
        if isinstance(share, str) or _is_number(share):
            try:
                self._put("kv_share", parse_share(str(share)))
            except ValueError as error:
                raise _unread("kv_share", error) from None
        numbers: dict[str, Callable[[str], float]] = {
            "word_weight": float,
            "branches": int,
            "threads": int,
            "gpu_layers": int,
        }
        for name, convert in numbers.items():
            value = getattr(self, name)
            if isinstance(value, str):
                with suppress(ValueError):  # told with what is accepted
                    self._put(name, convert(value))

    def _read_hotwords(self) -> None:
        """A tuple of words, each once. Raises InputError for what is none."""
        given: object = self.hotwords
        cure = f"Write at most {_MOST_HOTWORDS} words with commas between them, or a list."
        if isinstance(given, str):
            given = re.split(r"[,\n]", given)
        if not isinstance(given, Sequence) or not all(isinstance(word, str) for word in given):
            raise _wrong("hotwords", given, cure)
        words = tuple(dict.fromkeys(filter(None, (" ".join(word.split()) for word in given))))
        if len(words) > _MOST_HOTWORDS:
            raise InputError(f"hotwords: {len(words)} are too many.", cure=cure)
        for word in words:
            if len(word) > _MOST_HOTWORD_CHARS or not any(map(str.isalpha, word)):
                raise InputError(f"hotwords: {clipped(word, 40)!r} is no word.", cure=cure)
        self._put("hotwords", words)

    def _put(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def cap_bytes(self) -> int:
        """`mem` in bytes."""
        return parse_bytes(self.mem, total_bytes=total_memory_bytes())

    @property
    def n_threads(self) -> int:
        """Threads to use: no more than there are cores, for those would wait for each other."""
        return default_threads() if self.threads is None else min(self.threads, usable_cores())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_size(name: str, size: str) -> None:
    try:
        parse_bytes(size, total_bytes=1 << 40, least_bytes=LEAST_CAP_BYTES)
    except ValueError as error:
        raise _unread(name, error) from None


def _unread(name: str, error: ValueError) -> InputError:
    """What `units` says of a text, which ends with what to write instead."""
    what, _, cure = str(error).rpartition("; ")
    return InputError(
        f"{name}: {what}.", cure=f"{cure[:1].upper()}{cure[1:]}{'' if cure[-1:] == '?' else '.'}"
    )


def _wrong(name: str, value: object, cure: str) -> InputError:
    return InputError(f"{name} cannot be {value!r}.", cure=cure)
