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
    says why no job can be done, if none can. `sessions` tells of each what it is at ("live", "job"
    or nothing); `time_s` and `heads` are those of the first that is at anything.
    """
    report, at_work = service.engine.report(), service.worker.at_work()
    shown = next((engine for engine, kind in at_work if kind), service.engine)
    return json_response(
        {
            "model": service.engine.name,
            "time_s": round(shown.heard_s, 3),
            "cap_bytes": report.cap_bytes,
            "rss_bytes": report.rss_bytes,
            "parts": report.parts,
            "heads": _rows(shown.heads),
            "sessions": [
                {"at": kind, "time_s": round(engine.heard_s, 3), "rows": _sum(engine.heads)}
                for engine, kind in at_work
            ],
            "jobs": service.worker.taken,
            "fault": service.worker.fault,
        },
        headers={"cache-control": "no-store"},
    )


def _sum(heads: Heads | None) -> int:
    return 0 if heads is None else int((heads.audio + heads.text + heads.other).sum())


def _rows(heads: Heads | None) -> dict[str, list[list[int]]] | None:
    if heads is None:
        return None
    return {
        "audio": heads.audio.tolist(),
        "text": heads.text.tolist(),
        "other": heads.other.tolist(),
        "capacity": heads.capacity.tolist(),
    }
