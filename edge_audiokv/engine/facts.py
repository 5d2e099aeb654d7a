"""What results for machines say of the model that made them."""

from __future__ import annotations

from edge_audiokv.engine.finals.language import language_code
from edge_audiokv.engine.runtime import Runtime


def model_facts(runtime: Runtime) -> dict[str, str | None]:
    """The loaded model, the weights of its LLM, and what it hears."""
    settings, local = runtime.settings, runtime.local
    # A model of one language writes that; of many, only a person can have said which.
    alone = local.entry.languages[0] if len(local.entry.languages) == 1 else None
    spoken = settings.language or alone
    return {
        "model": settings.model,
        "quantisation": local.quantisation,
        "language": language_code(spoken) if spoken else None,
    }
