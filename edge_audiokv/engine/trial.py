"""A model's files in child processes first: what they do to a process, they do to those."""

from __future__ import annotations

from edge_audiokv.encoder import probe as encoder_probe
from edge_audiokv.encoder import reader_probe
from edge_audiokv.models.download import LocalModel
from edge_audiokv.native import probe as llm_probe


def try_files(local: LocalModel) -> None:
    """Raise ModelError if using the LLM, encoder or reader ends a process, or is refused.

    A second or two for each, once: what passed is remembered.
    """
    llm_probe.check_in_child(*local.llm_paths)
    entry = local.entry
    encoder_probe.check_in_child(
        local.encoder_path,
        d_model=entry.d_model,
        rule=entry.rule,
    )
    if local.reader_paths is not None:
        reader_probe.check_reader_in_child(local.reader_paths)
