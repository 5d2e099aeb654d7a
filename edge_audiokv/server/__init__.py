"""One loaded model for many programs: OpenAI's HTTP interface in front of its sessions.

    request -> guard (who may) -> desk (is there room) -> body on disk -> worker (the model)

Needs the extra `server`. One thread owns the model; all else runs on one event loop.
"""
