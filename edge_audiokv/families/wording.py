"""Prompts that a tokenizer's own chat template writes, split where the sound goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_audiokv.errors import ModelError
from edge_audiokv.families.plan import Wording
from edge_audiokv.families.tensors import read_json

AUDIO, QUESTION = "{audio}", "{question}"
_OLDER = "chat_template.json"  # where processors of transformers 4 have it
_ANSWER = "What was said."
# Templates of Llama and Granite write today's date; what is written down for good says the default
# of Llama's.
_DAY = {"%d": "26", "%m": "07", "%b": "Jul", "%B": "July", "%y": "24", "%Y": "2024"}
_DATE = f"{_DAY['%d']} {_DAY['%b']} {_DAY['%Y']}"
# In place of what transformers has under this name.
_NO_CLOCK = "{%- macro strftime_now(format) -%}{{ format" + "".join(
    f" | replace('{code}', '{text}')" for code, text in _DAY.items()
)
_NO_CLOCK += " }}{%- endmacro -%}"


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # transformers raises many kinds
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise ModelError(
            f"The tokenizer in {folder} cannot be read: {lines[0].rstrip('.')}.",
            cure="Download tokenizer.json and tokenizer_config.json of the checkpoint again.",
        ) from None


def from_chat_template(
    folder: Path,
    user: str | list[dict[str, str]],
    question: str,
    *,
    placeholder: str = AUDIO,
    answer_tags: str = "",
) -> Wording:
    """What the chat template makes of one turn, whose user says `user` with the {question} in it.

    `user` is a text with its {audio}, or parts of which one is the sound; the template then writes
    `placeholder` for it. Raises ModelError if there is no template, or if it changes what is said.
    """
    tokenizer = _with_template(folder)
    asked = [{"role": "user", "content": user}]
    answered = [*asked, {"role": "assistant", "content": _as_like(user, _ANSWER)}]
    again = [*answered, {"role": "user", "content": _as_like(user, QUESTION)}]
    try:
        opened = _render(tokenizer, asked, True)
        closed = _render(tokenizer, answered, False)
        more = _render(tokenizer, again, True)
    except Exception as error:  # templates are programs of others
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"The chat template in {folder} cannot be used: {lines[0].rstrip('.')}.",
            cure="Take the folder of an instruct model, with its chat template.",
        ) from None
    end = closed.rpartition(_ANSWER)[2] if _ANSWER in closed else ""
    # What is before an answer may differ with its age: thoughts of old answers are left out.
    rest = more.rpartition(_ANSWER)[2] if _ANSWER in more else ""
    ask = rest.removeprefix(end)
    once = all(opened.count(text) == 1 for text in (placeholder, QUESTION))
    if not once or not end or not rest.startswith(end) or ask.count(QUESTION) != 1:
        raise ModelError(
            f"The chat template in {folder} does not keep what a turn says.",
            cure="Take the folder of an instruct model, with its chat template.",
        )
    return Wording(
        template=opened.replace(placeholder, AUDIO),
        end_of_turn=end,
        question=question,
        ask=ask,
        answer_tags=answer_tags,
    )


def own_question(folder: Path, user: list[dict[str, str]], *, placeholder: str) -> str:
    """What the chat template says behind the sound where a person says nothing; empty if nothing.

    Raises ModelError if there is no template.
    """
    asked = from_chat_template(
        folder, [*user, {"type": "text", "text": QUESTION}], "", placeholder=placeholder
    )
    silent = _render(_with_template(folder), [{"role": "user", "content": user}], True)
    head, tail = asked.template.replace(AUDIO, placeholder).split(QUESTION)
    fits = silent.startswith(head) and silent.endswith(tail) and len(silent) > len(head + tail)
    return silent[len(head) : len(silent) - len(tail)] if fits else ""


def _with_template(folder: Path) -> Any:
    """The tokenizer of a folder with its chat template, wherever that lies."""
    tokenizer = load_tokenizer(folder)
    if not tokenizer.chat_template and (folder / _OLDER).is_file():
        tokenizer.chat_template = str(read_json(folder / _OLDER).get("chat_template", ""))
    return tokenizer


def _as_like(user: str | list[dict[str, str]], text: str) -> str | list[dict[str, str]]:
    """`text` in the form that `user` has."""
    return text if isinstance(user, str) else [{"type": "text", "text": text}]


def _render(tokenizer: Any, turns: list[dict[str, Any]], opening: bool) -> str:
    own = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    return str(
        tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=opening,
            chat_template=own and _NO_CLOCK + own,
            date_string=_DATE,
            enable_thinking=False,
        )
    )
