"""What a converted model computes is what transformers computes with the checkpoint."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from edge_audiokv.engine.prompt import PromptTemplate, Tokenizer
from edge_audiokv.families.table import read
from edge_audiokv.models.entry import read_entry
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext

from . import tiny
from .conftest import Case

pytestmark = pytest.mark.integration

CLOSE = 1e-4  # of rows whose deviation is about 1
STOCK_CLOSE = 2e-4
OURS_CLOSE = 0.05  # of the logits' deviation: rows in f16
TOKENS = 24
# Of families whose rows do not make up a tenth of a second.
ROW_S = {**dict.fromkeys(("glm_asr", "phi4_multimodal", "moss"), 0.08), "fun_asr": 0.06}


def rows_of(case: Case, audio: tiny.Array) -> tiny.Array:
    """What the ONNX graph gives, [T, d_model]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(case.folder / "encoder.onnx"), options)
    (rows,) = session.run(None, {session.get_inputs()[0].name: audio[None]})
    return rows[0]


def tower_rows(case: Case, audio: tiny.Array) -> tiny.Array:
    with torch.no_grad():
        return case.tower(torch.from_numpy(audio)[None])[0].numpy()


def test_tower_and_graph_give_the_rows_of_transformers(case: Case) -> None:
    for seconds in case.tiny.lengths_s:
        audio = tiny.sound(seconds, seed=round(seconds * 100))
        expected = case.tiny.rows(audio).numpy()
        own, graph = tower_rows(case, audio), rows_of(case, audio)
        assert 0.4 < expected.std() < 3, seconds
        assert own.shape == graph.shape == expected.shape, seconds
        assert np.abs(own - expected).max() < CLOSE, seconds
        assert np.abs(graph - expected).max() < CLOSE, seconds


def test_rows_are_as_many_as_the_entry_says(case: Case) -> None:
    sound = case.plan.sound
    unit_s = sound.block_s or 1 / sound.tokens_per_second
    rows = round(unit_s * sound.tokens_per_second)
    longest = round(sound.max_audio_s / unit_s)
    for units in {1, 2, longest} if sound.token_rule != "windows" else {1}:
        audio = np.zeros(round(units * unit_s * 16_000), np.float32)
        assert len(tower_rows(case, audio)) == units * rows


class F32Stock(StockContext):
    """llama.cpp's own cache with f32 rows and plain attention."""

    def context_params(self) -> Any:
        params = super().context_params()
        params.flash_attn_type = 0
        return params


def prompt_ids(case: Case, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Tokens before and after the sound, as a session has them."""
    prompt = PromptTemplate.of(read_entry(case.folder / "model.toml").prompt)
    return prompt.before_ids(tokenizer), prompt.after_ids(tokenizer)


class Theirs:
    """The checkpoint's own tokenizer."""

    def __init__(self, case: Case) -> None:
        self.tokenizer = case.tiny.tokenizer

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def follow(decode: Callable[[list[int]], tiny.Array], logits: tiny.Array) -> list[int]:
    """The likeliest tokens, one after the other."""
    tokens: list[int] = []
    for _ in range(TOKENS):
        tokens.append(int(logits.argmax()))
        logits = decode(tokens[-1:])
    return tokens


def test_logits_and_greedy_tokens_from_the_wave_are_those_of_transformers(case: Case) -> None:
    unit_s = ROW_S.get(case.tiny.name, 0.1)
    audio = tiny.sound(unit_s * round(5.4 / unit_s + 0.5), seed=5)
    rows = rows_of(case, audio)
    before, after = prompt_ids(case, Theirs(case))
    expected_rows = case.tiny.rows(audio).numpy()
    greedy, steps = case.tiny.greedy(before, expected_rows, after, TOKENS)
    spread = steps[0].std()
    assert len(set(greedy)) >= 3 and spread > 0.2  # or a wrong model would do
    with F32Stock(case.llm, 1024, type_k="f32", type_v="f32", n_batch=512) as stock:
        stock.decode(np.array(before))
        stock.decode(None, rows)
        logits = stock.decode(np.array(after))
        assert np.abs(logits - steps[0]).max() < STOCK_CLOSE
        assert follow(lambda tokens: stock.decode(np.array(tokens)), logits) == greedy
    capacity = len(before) + len(rows) + len(after) + TOKENS + 8
    with Model(case.llm) as model, HeadwiseContext(model, capacity, n_threads=1) as ours:
        assert prompt_ids(case, model) == (before, after)
        ours.decode_tokens(before, logits=False)
        ours.decode_embeddings(rows)
        logits = ours.decode_tokens(after)
        assert np.abs(logits - steps[0]).max() < OURS_CLOSE * spread
        for token, expected in zip(greedy, steps, strict=True):
            assert np.sqrt(np.mean((logits - expected) ** 2)) < OURS_CLOSE / 2 * spread
            first, second = np.sort(expected)[[-1, -2]]
            # Between two that are nearer to each other than that, f16 rows may choose either.
            assert logits.argmax() == token or first - second < OURS_CLOSE * spread
            logits = ours.decode_tokens([token])


@pytest.mark.parametrize("family", ["granite_speech", "phi4_multimodal"])
def test_tokens_of_the_prompt_are_those_of_the_processor(
    all_made: dict[str, Case], family: str
) -> None:
    """Which writes its placeholder as often as there are rows; Granite's template, today's date."""
    case = all_made[family]
    tokenizer, question = case.tiny.tokenizer, case.plan.wording.question
    turn = [{"role": "user", "content": f"<|audio|>{question}"}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    dated = re.sub(r"Today is \w+ \d\d, \d{4}\.", "Today is July 26, 2024.", text)
    expected = tokenizer(dated.replace("<|audio|>", 54 * "<|audio|>"), add_special_tokens=False)
    with Model(case.llm) as model:
        before, after = prompt_ids(case, model)
    rows = 54 * [tokenizer.convert_tokens_to_ids("<|audio|>")]
    assert [*before, *rows, *after] == expected["input_ids"]


def far_bias(tower: Any) -> Any:
    """Numbers [distances, heads] that are added to scores, or None."""
    layer = getattr(tower.audio_tower, "relative_attention_bias_layer", None)
    return layer["bias_values"].weight if layer is not None else None


def heads_merged(tower: Any, patch: pytest.MonkeyPatch) -> None:
    if (bias := far_bias(tower)) is not None:  # a head takes the distances of another
        bias.data = bias.data.flip(1)
        return
    for part in tower.modules():
        # Where distances have vectors of a head's size, merged heads would not even run.
        if hasattr(part, "heads") and not hasattr(part, "distances"):
            part.heads, part.size = 1, part.heads * part.size


def rough_gelu(tower: Any, patch: pytest.MonkeyPatch) -> None:
    exact, sharp = torch.nn.functional.gelu, torch.nn.functional.relu
    patch.setattr(torch.nn.functional, "gelu", lambda x: exact(x, approximate="tanh"))
    patch.setattr(torch.nn.functional, "relu", lambda x, inplace=False: sharp(x) + 1e-3 * x)


def norm_of_another_epsilon(tower: Any, patch: pytest.MonkeyPatch) -> None:
    for part in tower.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.eps = 1e-3


def places_wrong(tower: Any, patch: pytest.MonkeyPatch) -> None:
    encoder = tower.audio_tower
    if (bias := far_bias(tower)) is not None:
        bias.data = bias.data.roll(1, 0)
        return
    near = [part for part in tower.modules() if hasattr(part, "distances")]
    if near:  # an earlier frame is taken for a later one
        for part in near:
            part.distances.copy_(part.distances.T.clone())
        return
    if hasattr(encoder, "sin"):  # positions relative to each other: turned the other way
        encoder.sin.neg_()
        return
    table = (
        encoder.embed_positions.weight if hasattr(encoder, "embed_positions") else encoder.places
    )
    with torch.no_grad():
        table.copy_(table.roll(1, 0))


def brighter(tower: Any, patch: pytest.MonkeyPatch) -> None:
    """High tones are louder; of all tones alike an encoder may hear nothing."""
    tower.mel.bank *= torch.linspace(1, 1.02, len(tower.mel.bank))[:, None]


@pytest.mark.parametrize(
    "flip", [heads_merged, rough_gelu, norm_of_another_epsilon, places_wrong, brighter]
)
def test_a_tower_with_one_thing_wrong_fails(
    case: Case, flip: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = tiny.sound(1.2, seed=7)
    expected = case.tiny.rows(audio)
    wrong = copy.deepcopy(case.tower)
    flip(wrong, monkeypatch)
    with torch.no_grad():
        rows = wrong(torch.from_numpy(audio)[None])[0]
    assert (rows - expected).abs().max() > 5 * CLOSE


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("qwen3_asr", "HIDDEN", 0.0),  # padding is looked at
        ("qwen3_asr", "_LEAST_SAMPLES", 160),
        ("qwen2_5_omni", "HIDDEN", 0.0),
        ("qwen2_audio", "_SILENCE", 0),
    ],
)
def test_what_a_family_does_at_the_end_of_a_sound_is_needed(
    all_made: dict[str, Case],
    family: str,
    name: str,
    value: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = all_made[family]
    audio = tiny.sound(0.4, seed=7)
    expected = case.tiny.rows(audio)
    module = importlib.import_module(f"edge_audiokv.families.towers.{family}")
    monkeypatch.setattr(module, name, value)
    with torch.no_grad():
        rows = case.tower(torch.from_numpy(audio)[None])[0]
    same = rows.shape == expected.shape
    assert not same or (rows - expected).abs().max() > 5 * CLOSE


def test_markers_of_the_prompt_are_single_tokens(case: Case) -> None:
    ids = case.tiny.tokenizer.convert_tokens_to_ids
    found = set(re.findall(r"<\|\w+\|>|\[/?[A-Z_]+\]", case.plan.wording.template))
    assert found and all(ids(marker) is not None for marker in found)


def test_the_entry_says_what_lies_beside_it(case: Case) -> None:
    entry = read_entry(case.folder / "model.toml")
    raw = tomllib.loads((case.folder / "model.toml").read_text())
    assert entry.status == "unverified" and entry.name == case.folder.name
    assert entry.d_model == 128 and raw["audio"]["sample_rate_hz"] == 16_000
    assert {file.role for file in entry.files} == {"encoder", "llm"}
    assert sorted(path.name for path in case.folder.iterdir()) == sorted(
        [*(file.name for file in entry.files), "model.toml"]
    )
    for file in entry.files:
        data = (case.folder / file.name).read_bytes()
        assert file.size_bytes == len(data)
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert file.licence == "not stated in the checkpoint"


def test_moved_rows_of_phi4_stay_as_long_as_they_were(all_made: dict[str, Case]) -> None:
    """Its positions make rows longer, which must not be done again when they are moved."""
    case = all_made["phi4_multimodal"]
    tokens = [5, 6, 7, 8, 9, 10, 11, 12]
    logits = []
    for moves in (False, True):
        with Model(case.llm) as model, HeadwiseContext(model, 64, n_threads=1) as context:
            context.decode_tokens(tokens)
            if moves:
                context.shift(20)
            logits.append(context.decode_tokens([13]))
    assert np.abs(logits[1] - logits[0]).max() < OURS_CLOSE * logits[0].std()


def test_without_its_adapter_an_llm_says_other_things(all_made: dict[str, Case]) -> None:
    """Or the merging would be proven by nothing."""
    from safetensors.torch import load_file

    tiny_made = all_made["granite_speech"].tiny
    stored = load_file(str(tiny_made.folder / "model.safetensors"))
    name = "model.layers.1.self_attn.q_proj.weight"
    merged = tiny_made.model.model.language_model.get_parameter(name.removeprefix("model."))
    adapter = all_made["granite_speech"].plan.language.adapter
    assert adapter is not None and adapter.scale == 1.5
    delta = dict(adapter.deltas())[name]
    assert (merged - stored[f"language_model.{name}"] - delta).abs().max() < 1e-6
    assert delta.std() > 0.02


def test_names_of_the_hub_are_read_too(tmp_path: Path, all_made: dict[str, Case]) -> None:
    """The whole Qwen2.5-Omni has its thinker's tensors and configuration one level down."""
    from safetensors.torch import load_file, save_file

    case = all_made["qwen2_5_omni"]
    source, folder = case.tiny.folder, tmp_path / "hub"
    folder.mkdir()
    weights = load_file(str(source / "model.safetensors"))
    save_file({f"thinker.{k}": v for k, v in weights.items()}, str(folder / "model.safetensors"))
    config = json.loads((source / "config.json").read_text())
    config = {"model_type": "qwen2_5_omni", "thinker_config": config}
    (folder / "config.json").write_text(json.dumps(config))
    plan = read(folder)
    assert plan.language.count == case.plan.language.count
    assert plan.language.config["hidden_size"] == 128
    audio = torch.from_numpy(tiny.sound(1.0))[None]
    with torch.no_grad():
        assert torch.equal(plan.tower().eval()(audio), case.tower(audio))


def test_a_sound_under_a_chunk_ends_where_it_ends(all_made: dict[str, Case]) -> None:
    """Qwen3-Omni fills a chunk up only where another is before it; Qwen3-ASR always."""
    case = all_made["qwen3_omni"]
    wrong = copy.deepcopy(case.tower)
    wrong.audio_tower.short = False
    for seconds, differs in ((0.43, True), (1.43, False)):
        audio = tiny.sound(seconds, seed=7)
        with torch.no_grad():
            rows = wrong(torch.from_numpy(audio)[None])[0]
        assert bool((rows - case.tiny.rows(audio)).abs().max() > 5 * CLOSE) is differs
