"""What a person chooses for an engine, in one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_audiokv.kv.memory import total_memory_bytes
from edge_audiokv.native.threads import default_threads
from edge_audiokv.units import parse_bytes

DEFAULT_MEM = "2GB"


@dataclass(frozen=True)
class EngineSettings:
    """Model, memory and cache policy.

    model       catalog name, or a directory with a model.toml
    mem         cap of the whole process: "2GB", "1GiB", "50%"
    kv_policy   name of an eviction policy
    kv_share    rows kept by eviction, as a share of the rows seen, in (0, 1]
    kv_options  options of the policy, by name
    type_k      rows of keys: f16, q8_0 or q4_0
    type_v      rows of values: f16, q8_0 or q4_0
    word_weight how much the words count that the encoder believes in; None takes the model's own,
                0 leaves all to the LLM
    branches    close calls in a final text that are decided otherwise, to see if the text gets more
                likely; 0 decodes greedily
    threads     threads for encoder and LLM; None takes `default_threads`: physical cores, at most 4
    provider    where onnxruntime runs the encoder: cpu, cuda, tensorrt, coreml
    """

    model: str = "smollm2-audio"
    mem: str = DEFAULT_MEM
    kv_policy: str = "audiokv-edge"
    kv_share: float = 1.0
    kv_options: Mapping[str, Any] = field(default_factory=dict)
    type_k: str = "f16"
    type_v: str = "f16"
    word_weight: float | None = None
    branches: int = 8
    threads: int | None = None
    provider: str = "cpu"

    @property
    def cap_bytes(self) -> int:
        """`mem` in bytes. Raises ValueError if it is not a size."""
        return parse_bytes(self.mem, total_bytes=total_memory_bytes())

    @property
    def n_threads(self) -> int:
        """Threads to use."""
        return default_threads() if self.threads is None else max(1, self.threads)
