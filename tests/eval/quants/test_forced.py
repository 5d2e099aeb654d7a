"""The text that an LLM is given is read in the cache in which it would have written it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.transcriber import Transcriber

if TYPE_CHECKING:
    from ...conftest import Clip

pytestmark = pytest.mark.integration


def test_what_the_llm_alone_wrote_is_its_first_choice_everywhere(spoken: dict[str, Clip]) -> None:
    # Of clips of up to 8 s: smaller pools, and nothing else differs.
    endpoint = EndpointConfig(max_segment_s=8.0)
    with Transcriber(threads=1, word_weight=0.0, kv_share=0.4, endpoint=endpoint) as transcriber:
        recognizer, cache = transcriber.recognizer, transcriber.cache
        heard = recognizer.recognize(spoken["letter"].samples)
        ids = heard.decoded.ids
        assert len(ids) > 10 and not heard.decoded.flags
        rows = list(recognizer.forced(heard.sound, ids))
        assert [int(np.argmax(row)) for row in rows[:-1]] == list(ids)
        assert recognizer.runtime.model.is_end_of_generation(int(np.argmax(rows[-1])))
        assert (cache.context.counts < cache.next_position).any(), "it was cut, too"
        again = list(recognizer.forced(heard.sound, ids))
        assert all(np.array_equal(one, other) for one, other in zip(rows, again, strict=True))
        assert recognizer.recognize(spoken["letter"].samples).decoded.ids == ids
