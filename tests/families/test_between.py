"""MOSS-Transcribe-Diarize: the seconds stand between its rows as its own processor writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.engine.prompt import PromptTemplate, digit_rows
from edge_audiokv.models.entry import read_entry
from edge_audiokv.native.model import Model

from . import tiny
from .conftest import Case
from .test_parity import CLOSE, STOCK_CLOSE, F32Stock

pytestmark = pytest.mark.integration


def theirs(case: Case, audio: tiny.Array) -> Any:
    """What the processor makes of a sound."""
    from transformers import MossTranscribeDiarizeFeatureExtractor, MossTranscribeDiarizeProcessor

    tokenizer = case.tiny.tokenizer
    processor = MossTranscribeDiarizeProcessor(
        MossTranscribeDiarizeFeatureExtractor(), tokenizer, tokenizer.chat_template
    )
    turn = [{"role": "user", "content": [{"type": "audio"}]}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    made = processor(text=text, audio=[audio], sampling_rate=16_000, return_tensors="pt")
    return {name: made[name] for name in made if name != "num_audio_tokens"}


@pytest.mark.parametrize("seconds", [1.92, 2.0, 21.0, 62.0])
def test_what_the_llm_reads_is_what_the_processor_writes(
    all_made: dict[str, Case], seconds: float
) -> None:
    """Tokens of the prompt, rows of the sound in windows of 30 s, and the logits that follow."""
    case = all_made["moss"]
    audio = tiny.sound(seconds, seed=3)
    entry = read_entry(case.folder / "model.toml")
    given, model = theirs(case, audio), case.tiny.model
    with torch.no_grad():
        expected = model(**given).logits[0, -1].numpy()
        embedded = model.get_input_embeddings()(given["input_ids"])[0]
        sounds = given["input_ids"][0] == model.config.audio_token_id
        embedded[sounds] = case.tiny.rows(audio)
    encoder = OnnxEncoder(
        case.folder / "encoder.onnx",
        d_model=entry.d_model,
        rule=entry.rule,
        max_window_s=entry.max_audio_s,
    )
    with Model(case.llm) as llm, encoder:
        encoder.digits = digit_rows(entry.rule, llm, case.llm)
        rows = encoder.encode(audio)
        prompt = PromptTemplate.of(entry.prompt)
        before, after = prompt.before_ids(llm), prompt.after_ids(llm)
    assert len(rows) == entry.rule.rows(len(audio))
    ids = given["input_ids"][0].tolist()
    assert ids[: len(before)] == before and ids[len(ids) - len(after) :] == after
    wanted = embedded[len(before) : len(ids) - len(after)].numpy()
    assert rows.shape == wanted.shape
    assert np.abs(rows - wanted).max() < CLOSE
    with F32Stock(case.llm, 2048, type_k="f32", type_v="f32", n_batch=1024) as stock:
        stock.decode(np.array(before))
        stock.decode(None, rows)
        logits = stock.decode(np.array(after))
    assert np.abs(logits - expected).max() < STOCK_CLOSE


def test_its_processor_decides_how_often(all_made: dict[str, Case], tmp_path: Any) -> None:
    import json
    import shutil

    from edge_audiokv.errors import ModelError
    from edge_audiokv.families.table import read

    folder = shutil.copytree(all_made["moss"].tiny.folder, tmp_path / "other")
    for every_s, block_s in ((4, 4.0), (0, None)):
        stated = json.dumps({"time_marker_every_seconds": every_s})
        (folder / "processor_config.json").write_text(stated)
        sound = read(folder).sound
        assert sound.block_s == block_s
        assert sound.token_rule == ("timed" if every_s else "linear")
    (folder / "processor_config.json").write_text('{"time_marker_every_seconds": 1}')
    with pytest.raises(ModelError, match="another time_marker_every_seconds"):
        read(folder)
