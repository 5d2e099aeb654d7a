"""GET /v1/edge/memory: bytes by part beside the cap, and rows head by head, as they are now.

It waits for no step of the model. None of it says what was said.
"""

from __future__ import annotations

from starlette.responses import Response

from edge_audiokv.server.engine import Heads
from edge_audiokv.server.faults import json_response
from edge_audiokv.server.service import Service

PATH = "/v1/edge/memory"


def memory(service: Service) -> Response:
    """`heads` has a list of heads for each layer; `jobs` are places that are taken, and `fault`
    says why no job can be done, if none can.
    """
    report, heads = service.engine.report(), service.engine.heads
    return json_response(
        {
            "model": service.engine.name,
            "time_s": round(report.time_s, 3),
            "cap_bytes": report.cap_bytes,
            "rss_bytes": report.rss_bytes,
            "parts": report.parts,
            "heads": None if heads is None else _rows(heads),
            "jobs": service.worker.taken,
            "fault": service.worker.fault,
        },
        headers={"cache-control": "no-store"},
    )


def _rows(heads: Heads) -> dict[str, list[list[int]]]:
    return {
        "audio": heads.audio.tolist(),
        "text": heads.text.tolist(),
        "other": heads.other.tolist(),
        "capacity": heads.capacity.tolist(),
    }
