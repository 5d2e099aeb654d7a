"""Which words of a question name what it is about."""

from __future__ import annotations

import re

# In quotation marks, straight or curved.
_QUOTED = re.compile(r"[\"\u201c\u201e]([^\"\u201c\u201d\u201e]+)[\"\u201d\u201c]")


def sought_in(question: str) -> str:
    """What to look for: the quoted words of `question` if it quotes any, else all of it.

    `Repeat the sentence with the word "boat".` is not about sentences.
    """
    quoted = [words.strip() for words in _QUOTED.findall(question)]
    return " ".join(filter(None, quoted)) or question
