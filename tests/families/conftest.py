"""Everything here needs the `convert` extra; without it nothing in this folder is collected."""

from __future__ import annotations

from importlib.util import find_spec

_THERE = all(find_spec(name) for name in ("torch", "transformers", "safetensors", "onnx"))
collect_ignore_glob = [] if _THERE else ["test_*.py"]
