"""A model whose files are all there, and so small that nothing can be heard with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.native import vocabularies


def write_model(folder: Path) -> str:
    """A model of small files that nothing can hear; the text of its entry."""
    folder.mkdir()
    vocabularies.write(folder / "llm.gguf", "llama-bpe")
    vocabularies.write(folder / "lora.gguf", "adapter")
    (folder / "encoder.onnx").write_bytes(b"encoder")
    (folder / "heads.json").write_text("{}")
    text = """name = "case"
summary = "A case"
languages = ["en"]
status = "ready"
[audio]
sample_rate_hz = 16000
tokens_per_second = 12.5
token_rule = "blocks"
block_s = 0.4
chunk_s = 8.0
max_audio_s = 30.0
encoder_bytes = [[15, 9000], [30.0, 12000]]
word_weight = 1.5
word_floor = 0.01
[llm]
architecture = "llama"
d_model = 64
context_length_tokens = 8192
[prompt]
template = "<|im_start|>user\\n{audio}\\n{question}<|im_end|>\\n"
end_of_turn = "<|im_end|>\\n"
question = "Transcribe the audio."
ask = "<|im_start|>{question}<|im_end|>\\n"
answer_after = "<|im_start|>"
max_tokens = 128
"""
    for role, name in (
        ("encoder", "encoder.onnx"),
        ("llm", "llm.gguf"),
        ("lora", "lora.gguf"),
        ("profile", "heads.json"),
    ):
        data = (folder / name).read_bytes()
        text += f'[[file]]\nrole = "{role}"\nname = "{name}"\nsize_bytes = {len(data)}\n'
        text += f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nlicence = "MIT"\n'
    return text
