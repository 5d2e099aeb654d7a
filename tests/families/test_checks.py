"""What was made is held against the checkpoint: another graph, GGUF or tokenizer is told."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge_audiokv.errors import ModelError
from edge_audiokv.families import checks
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.split import PATTERNS, find_pattern, renamed

from .conftest import Case

pytestmark = pytest.mark.integration


def test_a_graph_of_another_tower_is_told(made: Case) -> None:
    graph = made.folder / "encoder.onnx"
    difference = checks.graph_difference(made.tower, graph, made.plan)
    checks.check_graph(difference, graph)
    assert difference < 1e-4
    other = copy.deepcopy(made.tower)
    with torch.no_grad():
        other.audio_tower.layers[1].fc2.bias[0] += 0.1
    with pytest.raises(ModelError, match=r"encoder.onnx differs from the reference by .*report it"):
        checks.check_graph(checks.graph_difference(other, graph, made.plan), graph)
    with pytest.raises(ModelError, match="differs"):
        checks.check_graph(float("nan"), graph)


def of_another_tokenizer(made: Case, folder: Path) -> Case:
    """The plan of the same checkpoint with a tokenizer that splits numbers otherwise."""
    for file in made.tiny.folder.iterdir():
        (folder / file.name).symlink_to(file)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    names = {name: pattern for pattern, name in PATTERNS.items()}
    split = tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]
    assert split["Regex"] == names["qwen2"]
    split["Regex"] = r"\p{L}+|[^\p{L}]"
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    language = replace(made.plan.language, checkpoint=Checkpoint(folder))
    return replace(made, plan=replace(made.plan, language=language))


def test_a_gguf_that_splits_text_otherwise_is_told(made: Case, tmp_path: Path) -> None:
    architecture, prompt_tokens = checks.check_llm(made.llm, made.plan)
    assert architecture == "qwen2" and 20 < prompt_tokens < 200
    other = of_another_tokenizer(made, tmp_path)
    with pytest.raises(ModelError, match="splits text otherwise than the checkpoint's tokenizer"):
        checks.check_llm(made.llm, other.plan)


def test_an_llm_of_another_width_is_told(made: Case) -> None:
    language = replace(made.plan.language, config={**made.plan.language.config, "hidden_size": 96})
    with pytest.raises(ModelError, match="takes rows of 128 numbers, the encoder gives 96"):
        checks.check_llm(made.llm, replace(made.plan, language=language))


def test_a_marker_that_the_tokenizer_does_not_know_is_told(made: Case) -> None:
    wording = replace(made.plan.wording, template="<|nothing_like|>{audio}{question}")
    with pytest.raises(ModelError, match=r"does not know <\|nothing_like\|>"):
        checks.check_llm(made.llm, replace(made.plan, wording=wording))


def test_patterns_are_found_where_tokenizers_have_them() -> None:
    for pattern, name in PATTERNS.items():
        split = {"type": "Split", "pattern": {"Regex": pattern}}
        assert find_pattern({"pre_tokenizer": split}) == name
        whole = {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel"}]}
        assert find_pattern({"pre_tokenizer": whole}) == name
    assert find_pattern({"pre_tokenizer": {"pattern": {"Regex": "."}}}) is None
    assert find_pattern({"pre_tokenizer": None}) is None


def test_names_of_tensors_lose_their_prefix_once() -> None:
    prefixes = [["language_model.model.", "model."], ["language_model.lm_head.", "lm_head."]]
    assert renamed("language_model.model.layers.0.x", prefixes) == "model.layers.0.x"
    assert renamed("language_model.lm_head.weight", prefixes) == "lm_head.weight"
    assert renamed("audio_tower.conv1.weight", prefixes) is None


def test_the_prompt_is_that_of_the_reference(made: Case) -> None:
    """Qwen2-Audio's processor has a template of its own in transformers."""
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=128), made.tiny.tokenizer)
    asked = {"role": "user", "content": [{"type": "audio", "audio_url": "x"}]}
    asked["content"].append({"type": "text", "text": "What is it?"})
    text = processor.apply_chat_template([asked], add_generation_prompt=True, tokenize=False)
    ours = made.plan.wording.template.replace("{audio}", "<|AUDIO|>")
    assert text == ours.replace("{question}", "What is it?")
