"""The ASGI application: routes, and around all of them the guard and one form of refusal."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_audiokv.server import chat, transcriptions
from edge_audiokv.server.body import ClientGone, linger
from edge_audiokv.server.chat_request import read_chat
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import ApiError, from_engine, json_response
from edge_audiokv.server.form import Form, read_form
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.jobs import Item, Job
from edge_audiokv.server.json_body import read_json
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.metrics import Requests, metrics
from edge_audiokv.server.names import no_model
from edge_audiokv.server.stream import EventStream
from edge_audiokv.server.worker import Worker

log = logging.getLogger("edge_audiokv.server")

_TRANSCRIPTIONS = "/v1/audio/transcriptions"
_CHAT = "/v1/chat/completions"


@dataclass
class Service:
    """What the routes share. `folder` is where bodies lie."""

    engine: Engine
    worker: Worker
    folder: Path
    limits: Limits = field(default_factory=Limits)
    guard: Guard = field(default_factory=Guard)
    requests: Requests = field(default_factory=Requests)
    created_s: int = field(default_factory=lambda: int(time.time()))


def make_app(service: Service) -> ASGIApp:
    """The application; `service.worker` runs already."""
    routes = _Routes(service)
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("POST", _TRANSCRIPTIONS, routes.transcriptions),
        ("POST", _CHAT, routes.chat),
        ("GET", "/v1/models", routes.models),
        ("GET", "/v1/models/{id:path}", routes.model),
        ("GET", "/health", routes.health),
        ("GET", "/ready", routes.ready),
        ("GET", "/metrics", routes.metrics),
    ]
    app = Starlette(
        routes=[Route(path, endpoint, methods=[method]) for method, path, endpoint in table],
        exception_handlers={HTTPException: _no_route},
    )
    app.router.redirect_slashes = False
    return _Door(app, service, frozenset(path for _, path, _ in table))


async def _no_route(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    what = {404: "there is nothing at this path.", 405: "this path has another method."}
    return ApiError(
        error.status_code, what.get(error.status_code, error.detail), headers=error.headers
    ).response()


class _Door:
    """Asks the guard, counts answers, and turns whatever is raised into one form of refusal."""

    def __init__(self, app: ASGIApp, service: Service, paths: frozenset[str]) -> None:
        self._app, self._service, self._paths = app, service, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, status = scope["path"], 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                self._service.guard.check(scope)
                await self._app(scope, receive, told)
            except ClientGone:
                log.info("a client left before its answer")
            except ApiError as error:
                await self._refuse(error, scope, receive, told)
            except Exception as error:
                log.exception("a request failed")
                if not status:
                    await self._refuse(from_engine(error, param=None), scope, receive, told)
        finally:
            route = path if path in self._paths else "other"
            self._service.requests.count(route, status or 499)
            log.info("%s %s %s", scope["method"], route, status or "left")

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, let the client finish a little of its body unread, and end the connection."""
        has_body = scope["method"] not in ("GET", "HEAD")
        response = error.response(close=has_body)
        if not has_body:
            await response(scope, receive, send)
            return
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        body = bytes(response.body)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if not any(name == b"expect" for name, _ in scope["headers"]):
            await linger(receive, self._service.limits.base64_bytes)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def transcriptions(self, request: Request) -> Response:
        service = self._service
        with ExitStack() as stack:
            self._enter(stack)
            form = stack.enter_context(Form())
            await read_form(request, service.limits, service.folder, form)
            wanted = transcriptions.read_fields(form.fields, service.engine)
            if form.file is None:
                raise ApiError(400, "file: there is none.", param="file")
            job = self._submit(transcriptions.steps(form.file), stack)
        items = self._items(job, request, "file")
        if wanted.stream:
            return await self._stream(transcriptions.deltas(items))
        return await transcriptions.whole(items, wanted)

    async def chat(self, request: Request) -> Response:
        service = self._service
        with ExitStack() as stack:
            self._enter(stack)
            with ExitStack() as read:
                body, texts = await read_json(request, service.limits, service.folder, read)
                asked = read_chat(
                    body, texts, service.engine, service.limits, service.folder, stack
                )
            job = self._submit(chat.steps(asked), stack)
        items = self._items(job, request, "messages")
        name = service.engine.name
        if asked.stream:
            return await self._stream(chat.chunks(items, name, with_usage=asked.with_usage))
        return await chat.whole(items, name)

    def _enter(self, stack: ExitStack) -> None:
        """A place for a job, or ApiError before anything of the body is read."""
        self._service.worker.enter()
        stack.callback(self._service.worker.leave)

    def _submit(self, steps: Callable[[Engine, Job], Iterator[Item]], stack: ExitStack) -> Job:
        """From here on the job has what `stack` held."""
        service = self._service
        job = Job(steps, stack.pop_all(), max_audio_s=service.limits.audio_s)
        service.worker.submit(job)
        return job

    async def _items(self, job: Job, request: Request, param: str) -> AsyncIterator[Item]:
        """What the job yields. Raises ApiError or ClientGone; left early, the job is withdrawn."""
        try:
            async for item in job.items(request.receive):
                yield item
        except ClientGone:
            raise
        except Exception as error:
            raise from_engine(error, param=param) from None
        finally:
            self._service.worker.withdraw(job)

    async def _stream(self, documents: AsyncGenerator[object]) -> Response:
        """A stream whose first document is there: until then a refusal has its own status."""
        first = await anext(documents)

        async def all_of_them() -> AsyncIterator[object]:
            async with aclosing(documents):
                yield first
                async for document in documents:
                    yield document

        return EventStream(all_of_them(), send_s=self._service.limits.send_s)

    async def models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        if request.path_params["id"] != self._service.engine.name:
            raise no_model(self._service.engine.name)
        return json_response(self._model())

    def _model(self) -> dict[str, object]:
        service = self._service
        return {
            "id": service.engine.name,
            "object": "model",
            "created": service.created_s,
            "owned_by": "edge-audiokv",
        }

    async def health(self, request: Request) -> Response:
        """The process answers."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """A job can be done: the model is loaded, and the last one got on."""
        fault = self._service.worker.fault
        document = {"status": "not ready", "why": fault} if fault else {"status": "ok"}
        return json_response(document, status=503 if fault else 200)

    async def metrics(self, request: Request) -> Response:
        service = self._service
        text = metrics(service.engine, service.worker, service.requests)
        return Response(text, media_type="text/plain; version=0.0.4")
