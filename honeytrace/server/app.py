"""The application: all routes, one backend, one form of error, and the guard in front."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from honeytrace.exporters._store import StoreError, default_path, explain
from honeytrace.server import legacy, pages, routes
from honeytrace.server.backend import Backend
from honeytrace.server.bodies import Refused, refusal
from honeytrace.server.guarding import Guard
from honeytrace.server.index import NotReady, TooSlow

__all__ = ["make_app"]

_log = logging.getLogger("honeytrace.server")


def make_app(
    store_path: str | Path | None = None,
    *,
    api_key: str | None = None,
    lenient: bool = False,
    hosts: Iterable[str] | None = (),
) -> Starlette:
    """An ASGI application over a store, traces.db under HONEYTRACE_HOME if none is named.

    `hosts` are names it answers for besides those of the loopback interface; None: for all. Without `api_key` whoever
    reaches it may read and write.
    """
    store = (Path(store_path) if store_path is not None else default_path()).absolute()
    backend = Backend(store, lenient=lenient, key_needed=api_key is not None)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        backend.start()
        try:
            yield
        finally:
            backend.stop()

    app = Starlette(
        routes=[*routes.routes(backend), *legacy.routes(backend), *pages.routes(backend)],
        middleware=[Middleware(Guard, key=api_key, hosts=hosts)],
        exception_handlers={
            Refused: _refused,
            HTTPException: _http_error,
            NotReady: _not_ready,
            TooSlow: _not_ready,
            StoreError: _store_error,
            sqlite3.Error: _store_error,
            Exception: _failed,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.backend = backend
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error.status, error.message, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path[:200]}"
    elif error.status_code == 405:
        message = f"{request.method} is not allowed at {request.url.path[:200]}"
    return refusal(error.status_code, message, dict(error.headers or {}))


async def _not_ready(request: Request, error: Exception) -> Response:
    return refusal(503, str(error), {"retry-after": "2"})


async def _store_error(request: Request, error: Exception) -> Response:
    text = explain(error, request.app.state.backend.store) if isinstance(error, sqlite3.Error) else str(error)
    _log.error("%s", text)
    return refusal(503, text, {"retry-after": "2"})


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("cannot answer %s %s", request.method, request.url.path, exc_info=error)
    return refusal(500, "the server failed; its log says why")
