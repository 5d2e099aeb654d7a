"""Prompts from chat templates: where the sound goes, how a turn ends, how only a question is asked.

The templates are short forms of those of Llama 3.2, Qwen3 and Audio Flamingo 3.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.families.wording import from_chat_template

from . import tiny
from .tiny import PARTS

LLAMA = (
    "{{ bos_token }}<|system|>Today Date: {{ date_string or strftime_now('%d %b %Y') }}<|eot|>"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# An answer has its thoughts as long as nothing follows it.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
USER = "{audio}\n{question}"


def folder_of(path: Path, template: str) -> Path:
    path.mkdir(exist_ok=True)
    tiny.write_tokenizer(path, ["<s>"], "qwen2", template=template, bos_token="<s>")
    return path


def test_a_template_with_a_first_token_a_system_turn_and_a_date(tmp_path: Path) -> None:
    made = from_chat_template(folder_of(tmp_path, LLAMA), USER, "Transcribe.")
    assert made.template == (
        "<s><|system|>Today Date: 26 Jul 2024<|eot|><|user|>{audio}\n{question}<|eot|><|assistant|>"
    )
    assert (made.end_of_turn, made.question) == ("<|eot|>", "Transcribe.")
    assert made.ask == "<|user|>{question}<|eot|><|assistant|>"


def test_a_template_that_thinks(tmp_path: Path) -> None:
    made = from_chat_template(folder_of(tmp_path, QWEN3), USER, "Transcribe.")
    opening = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert made.template == f"<|im_start|>user\n{USER}<|im_end|>\n{opening}"
    assert made.end_of_turn == "<|im_end|>\n"
    assert made.ask == f"<|im_start|>user\n{{question}}<|im_end|>\n{opening}"


def test_a_template_that_takes_parts(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "{question}"}, {"type": "audio"}]
    folder = folder_of(tmp_path, PARTS.replace("SOUND", "<sound>"))
    made = from_chat_template(folder, parts, "Transcribe.", placeholder="<sound>")
    assert made.template.startswith("<|im_start|>user\n{question}{audio}<|im_end|>")
    assert made.ask.startswith("<|im_start|>user\n{question}<|im_end|>")


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", "cannot be used"),
        ("{{ messages[0].content.upper() }}", "does not keep what a turn says"),
        ("{{ messages[0].content }}", "does not keep what a turn says"),
        ("{{ messages[0].content * 2 }}", "does not keep what a turn says"),
        ("{{ raise_exception('only tools') }}", "cannot be used: only tools"),
        ("{% for x in range(10**12) %}{% endfor %}", "cannot be used"),
        ("{{ ''.__class__.__mro__ }}", "cannot be used"),
    ],
)
def test_templates_that_make_no_prompt(tmp_path: Path, template: str, why: str) -> None:
    with pytest.raises(ModelError, match=why) as caught:
        from_chat_template(folder_of(tmp_path, template), USER, "Transcribe.")
    assert "instruct model" in caught.value.cure
