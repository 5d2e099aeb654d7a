"""What conversion needs and running does not."""

from __future__ import annotations

from importlib.util import find_spec

from edge_audiokv.errors import MissingExtraError

NEEDED = ("torch", "transformers", "onnx", "safetensors", "huggingface_hub")


def need() -> None:
    """Raise MissingExtraError if a package of the `convert` extra is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"Converting a checkpoint needs {', '.join(missing)}.",
            cure="pip install 'edge-audiokv[convert]'",
        )
