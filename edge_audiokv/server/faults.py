"""Refusals as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`.

The clients send a request again after 408, 409, 429 and every 5xx, body and all, unless the answer
says `x-should-retry: false`. So whatever would fail again says that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from edge_audiokv.errors import EdgeAudioKVError, InputError, MissingExtraError, UnfitModelError

INVALID, DENIED, SERVER = "invalid_request_error", "authentication_error", "server_error"


class ApiError(Exception):
    """An answer other than the one that was asked for. `retry_after_s` says that it may be."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.kind, self.param, self.code = kind, param, code
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """The document, with all four keys."""
        what = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": what}

    def response(self, *, close: bool = False) -> Response:
        """`close` ends the connection: what is left of a body is not worth reading."""
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["retry-after"] = str(self.retry_after_s)
        else:
            headers["x-should-retry"] = "false"
        if close:
            headers["connection"] = "close"
        return json_response(self.body(), status=self.status, headers=headers)


def json_response(
    document: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(encoded(document), status, headers, media_type="application/json")


def encoded(document: object) -> bytes:
    """JSON in UTF-8, whatever a client has put into a text."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def refused(param: str, why: str, *, code: str = "unsupported_value") -> ApiError:
    """400: a field that is known here and cannot be honoured."""
    return ApiError(400, f"{param}: {why}", param=param, code=code)


def too_large(what: str, max_bytes: int, *, param: str | None = None) -> ApiError:
    return ApiError(
        413,
        f"{what} is larger than {max_bytes} bytes; send less at once, or compressed.",
        param=param,
        code="too_large",
    )


def busy(retry_after_s: int, what: str = "the model is busy and its queue is full") -> ApiError:
    return ApiError(
        429,
        f"{what}; try again in {retry_after_s} s.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after_s=retry_after_s,
    )


def occupied(retry_after_s: int) -> ApiError:
    return ApiError(
        429,
        "the model listens to this machine's microphone; `edge-audiokv client stop` ends that.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        retry_after_s=retry_after_s,
    )


def stopping() -> ApiError:
    return ApiError(
        503, "the server is stopping.", kind=SERVER, code="server_stopping", retry_after_s=5
    )


def not_ready(why: str) -> ApiError:
    return ApiError(503, f"not ready: {why}.", kind=SERVER, code="not_ready", retry_after_s=5)


def from_engine(error: BaseException, *, param: str | None) -> ApiError:
    """What the engine says of a job, as an answer that no client sends again in vain."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InputError | MissingExtraError):
        return ApiError(400, str(error), param=param, code="invalid_audio")
    if isinstance(error, UnfitModelError):  # it serves others, but cannot do what was asked
        return ApiError(400, str(error), param=param, code="unsupported_value")
    if isinstance(error, EdgeAudioKVError):
        return ApiError(500, str(error), kind=SERVER, code="engine_error")
    # Unforeseen: its text may hold what was said, and goes to the log alone.
    return ApiError(500, "an internal error; the server's log has it.", kind=SERVER)
