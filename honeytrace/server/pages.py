"""The page and what it reads: GET /ui/api/..., the static files, and one document for all places of the page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from honeytrace.server import listing, reading
from honeytrace.server.backend import Backend
from honeytrace.server.bodies import Refused, answer, encoded
from honeytrace.server.live import LIVE_PATH
from honeytrace.server.overview import overview
from honeytrace.server.routes import uuid_in_path

__all__ = ["routes"]

_STATIC = Path(__file__).with_name("static")
_PLACES = ("/", "/s/{session_id}", "/compare/{a}/{b}", "/overview")


def routes(backend: Backend) -> list[BaseRoute]:
    """All routes of the page."""
    index = backend.index

    async def ask(read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            found = await backend.run(read, index, *arguments)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return found

    async def sessions(request: Request) -> Response:
        return answer(await ask(listing.sessions, dict(request.query_params)))

    async def session(request: Request) -> Response:
        after = request.query_params.get("after_seq")
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 19):
            raise Refused(400, f"after_seq: expected a whole number, got {after[:80]!r}")
        found = await ask(reading.session, _id(request), None if after is None else int(after))
        return _or_404(found, "session")

    async def event(request: Request) -> Response:
        return _or_404(await ask(reading.event, _id(request)), "event")

    async def value(request: Request) -> Response:
        try:
            path = json.loads(request.query_params.get("path", ""))
        except (ValueError, RecursionError):
            path = None
        if not isinstance(path, list):
            raise Refused(400, 'path: expected a JSON array such as ["inputs", "text"]')
        there, found = await ask(reading.value, _id(request), path)
        return answer(found) if there else _or_404(None, "value")

    async def download(request: Request) -> Response:
        session_id = _id(request)
        ids = await ask(reading.events_of, session_id)
        if not ids:
            raise Refused(404, "there is no such session")

        async def pieces() -> AsyncIterator[bytes]:
            yield b'{"session_id":' + encoded(session_id) + b',"events":['
            between, left = b"", ids
            while left:  # all of a session may be gigabytes
                found, left = await ask(reading.whole, left)
                if found:
                    yield between + b",".join(found)
                    between = b","
            yield b"]}"

        name = "".join(
            letter for letter in session_id[:36] if letter.isascii() and (letter.isalnum() or letter in "-_")
        )
        headers = {"content-disposition": f'attachment; filename="session-{name}.json"'}
        return StreamingResponse(pieces(), media_type="application/json", headers=headers)

    async def live(request: Request) -> Response:
        if backend.watcher.is_full:
            raise Refused(503, "too many pages listen already", retry_after=30)
        return StreamingResponse(backend.watcher.listen(), media_type="text/event-stream")

    async def over_time(request: Request) -> Response:
        return answer(await ask(overview, dict(request.query_params)))

    async def facets(request: Request) -> Response:
        return answer(await ask(reading.facets))

    async def info(request: Request) -> Response:
        # Who has no key yet need not know where the store is.
        where = {} if backend.key_needed else {"store": str(backend.store)}
        return answer({"version": _version(), "key_needed": backend.key_needed, **where})

    version_of_page = _digest_of_page()
    document = _document(version_of_page)

    async def page(request: Request) -> Response:
        if not document:
            raise HTTPException(404, "this installation has no page")
        return Response(document, media_type="text/html", headers={"cache-control": "no-cache"})

    made = [
        ("/ui/api/sessions", sessions),
        ("/ui/api/sessions/{id}", session),
        ("/ui/api/sessions/{id}/download", download),
        ("/ui/api/events/{id}", event),
        ("/ui/api/events/{id}/value", value),
        (LIVE_PATH, live),
        ("/ui/api/overview", over_time),
        ("/ui/api/facets", facets),
        ("/ui/api/info", info),
        *((place, page) for place in _PLACES),
    ]
    return [
        *(Route(path, endpoint, methods=["GET"]) for path, endpoint in made),
        Mount(f"/static/{version_of_page}", _KeptFiles(directory=_STATIC, check_dir=False)),
        Mount("/static", StaticFiles(directory=_STATIC, check_dir=False)),
    ]


class _KeptFiles(StaticFiles):
    """Files under a name that changes with what is in them: browsers need not ask for them again."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        response = super().file_response(*arguments, **more)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def _digest_of_page() -> str:
    digest = sha256()
    for file in sorted(_STATIC.glob("*")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _document(version_of_page: str) -> str:
    file = _STATIC / "index.html"
    return file.read_text("utf-8").replace("/static/", f"/static/{version_of_page}/") if file.is_file() else ""


def _id(request: Request) -> str:
    """Any id: direct writers may have used one that is no UUID."""
    try:
        return uuid_in_path(request, "id")
    except Refused:
        return str(request.path_params["id"])


def _or_404(found: Any, what: str) -> Response:
    if found is None:
        raise Refused(404, f"there is no such {what}")
    return answer(found)


def _version() -> str:
    try:
        return version("honeytrace")
    except PackageNotFoundError:
        return "unknown"
