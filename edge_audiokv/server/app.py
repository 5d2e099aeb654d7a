"""The ASGI application: routes, and around all of them the guard and one form of refusal."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_audiokv.server import chat, transcriptions
from edge_audiokv.server.body import ClientGone, linger
from edge_audiokv.server.chat_request import read_chat
from edge_audiokv.server.faults import ApiError, from_engine, json_response, not_ready
from edge_audiokv.server.form import read_form
from edge_audiokv.server.jobs import Item
from edge_audiokv.server.json_body import read_json
from edge_audiokv.server.metrics import metrics
from edge_audiokv.server.names import no_model
from edge_audiokv.server.openapi import document as openapi
from edge_audiokv.server.page import files
from edge_audiokv.server.page import memory as edge_memory
from edge_audiokv.server.realtime import connection, ga
from edge_audiokv.server.service import Service
from edge_audiokv.server.stream import EventStream

log = logging.getLogger("edge_audiokv.server")

_TRANSCRIPTIONS = "/v1/audio/transcriptions"
_CHAT = "/v1/chat/completions"


def make_app(service: Service) -> ASGIApp:
    """The application; `service.worker` runs already."""
    routes = _Routes(service)
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("POST", _TRANSCRIPTIONS, routes.transcriptions),
        ("POST", _CHAT, routes.chat),
        ("GET", ga.PATH, routes.realtime),
        ("GET", "/v1/models", routes.models),
        ("GET", "/v1/models/{id:path}", routes.model),
        ("GET", "/health", routes.health),
        ("GET", "/ready", routes.ready),
        ("GET", "/metrics", routes.metrics),
        ("GET", edge_memory.PATH, routes.memory),
        ("GET", openapi.PATH, routes.openapi),
    ]
    pages = frozenset(files.PATHS) if service.page else frozenset[str]()
    table.extend(("GET", path, files.page) for path in pages)
    router = Router(
        [Route(path, endpoint, methods=[method]) for method, path, endpoint in table],
        redirect_slashes=False,
    )
    return _Door(router, service, frozenset(path for _, path, _ in table), pages)


def _no_route(error: HTTPException) -> ApiError:
    what = {404: "there is nothing at this path.", 405: "this path has another method."}
    message = what.get(error.status_code, error.detail)
    return ApiError(error.status_code, message, headers=error.headers)


class _Door:
    """Asks the guard, counts answers, and turns whatever is raised into one form of refusal."""

    def __init__(
        self, app: ASGIApp, service: Service, paths: frozenset[str], pages: frozenset[str]
    ) -> None:
        self._app, self._service = app, service
        self._paths, self._pages = paths, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._upgrade(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        path, status, unread = scope["path"], 0, True

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def read() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def refuse(error: ApiError) -> None:
            if unread and scope["method"] not in ("GET", "HEAD"):
                await self._refuse_unread(error, scope, receive, told)
            else:
                await error.response()(scope, receive, told)

        try:
            try:
                self._service.guard.check(scope, self._pages)
                # So that the router raises what it does not know.
                await self._app({**scope, "app": self}, read, told)
            except ClientGone:
                log.info("a client left before its answer")
            except ApiError as error:
                await refuse(error)
            except HTTPException as error:
                await refuse(_no_route(error))
            except Exception as error:
                log.exception("a request failed")
                if not status:
                    await refuse(from_engine(error, param=None))
        finally:
            route = path if path in self._paths else "other"
            self._service.requests.count(route, status or 499)
            log.info("%s %s %s", scope["method"], route, status or "left")

    async def _upgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, or a refusal of the same form before there is one."""
        path, status = scope["path"], 101
        await receive()  # that it is asked for
        try:
            self._service.guard.check(scope)
            if path != ga.PATH:
                raise ApiError(404, "there is nothing at this path.")
            await connection.answer(
                self._service, ga.Ga(self._service.engine), scope, receive, send
            )
        except ApiError as error:
            status = error.status
            await error.response()(scope, receive, send)
        except OSError:
            log.info("a client left before it was let in")
        finally:
            route = path if path in self._paths else "other"
            self._service.requests.count(route, status)
            log.info("%s %s %s", "WebSocket", route, status)

    async def _refuse_unread(
        self, error: ApiError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer, let the client finish a little of its body unread, and end the connection."""
        response = error.response(close=True)
        start = {"status": response.status_code, "headers": response.raw_headers}
        await send({"type": "http.response.start", **start})
        body = bytes(response.body)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        # Who asks first whether to send a body does not send it.
        if not any(name == b"expect" for name, _ in scope["headers"]):
            await linger(receive, self._service.limits.base64_bytes)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Routes:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def transcriptions(self, request: Request) -> Response:
        service = self._service
        with ExitStack() as stack:
            service.enter(stack)
            form = await read_form(request, service.limits, service.folder, stack)
            wanted = transcriptions.read_fields(form.fields, service.engine)
            if form.file is None:
                raise ApiError(400, "file: there is none.", param="file")
            job = service.submit(transcriptions.steps(form.file), stack, "file")
        items = service.items(job, request.receive)
        if wanted.stream:
            return await self._stream(transcriptions.deltas(items), items)
        async with aclosing(items):
            return await transcriptions.whole(items, wanted)

    async def chat(self, request: Request) -> Response:
        service = self._service
        with ExitStack() as stack:
            service.enter(stack)
            with ExitStack() as read:
                body, texts = await read_json(request, service.limits, service.folder, read)
                asked = read_chat(
                    body, texts, service.engine, service.limits, service.folder, stack
                )
            job = service.submit(chat.steps(asked), stack, "messages")
        items, name = service.items(job, request.receive), service.engine.name
        if asked.stream:
            chunks = chat.chunks(items, name, with_usage=asked.with_usage)
            return await self._stream(chunks, items)
        async with aclosing(items):
            return await chat.whole(items, name)

    async def _stream(
        self, documents: AsyncGenerator[object], items: AsyncGenerator[Item]
    ) -> Response:
        """A stream whose first document is there: until then a refusal has its own status."""
        first = await anext(documents)

        async def all_of_them() -> AsyncGenerator[object]:
            async with aclosing(items), aclosing(documents):
                yield first
                async for document in documents:
                    yield document

        return EventStream(all_of_them(), send_s=self._service.limits.send_s)

    async def realtime(self, request: Request) -> Response:
        raise ApiError(
            426,
            "this path speaks WebSocket.",
            code="upgrade_required",
            headers={"upgrade": "websocket", "connection": "upgrade"},
        )

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
        if fault := self._service.worker.fault:
            raise not_ready(fault)
        return json_response({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        service = self._service
        text = metrics(service.worker, service.requests, service.latencies)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def memory(self, request: Request) -> Response:
        return edge_memory.memory(self._service)

    async def openapi(self, request: Request) -> Response:
        return json_response(openapi.document(self._service))
