"""The contract's routes: read a body, check it, hand it to the writer or ask the index, answer.

Nothing is answered 200 before it is committed. Errors name the field and what was expected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from honeytrace.server import contract, fields, intake
from honeytrace.server.backend import Backend
from honeytrace.server.bodies import Refused, answer, encoded, take_in
from honeytrace.server.contract import Shape
from honeytrace.server.filters import Query
from honeytrace.server.searching import search, some_of, stored
from honeytrace.server.writing import Job, put_events, put_session, put_update

__all__ = ["batch_answer", "batch_of", "checked", "routes", "session_answer", "uuid_in_path"]

_HERE = {"org_id": "local", "workspace_id": "local", "project_id": "local"}
"""What the contract wants to know of a session and a store on one machine does not have."""


def routes(backend: Backend) -> list[Route]:
    """All routes under /v1, and the document that describes them."""

    async def create_event(request: Request) -> Response:
        rows = await take_in(request, lambda body: intake.rows([checked(backend, contract.EVENT, body)], name=""))
        await backend.write(put_events(rows))
        return answer({"event_id": rows[0].event_id, "success": True})

    async def create_batch(request: Request) -> Response:
        return await batch_answer(
            backend, await take_in(request, lambda body: batch_of(checked(backend, contract.BATCH, body)))
        )

    async def create_session(request: Request) -> Response:
        session = await take_in(request, lambda body: intake.with_own_id(checked(backend, contract.SESSION, body)))
        return session_answer(await backend.write(put_session(session)))

    async def create_session_batch(request: Request) -> Response:
        session_id = uuid_in_path(request, "session_id")

        def made(body: Any) -> list[intake.Row]:
            return intake.rows(checked(backend, contract.SESSION_BATCH, body)["events"], session_id=session_id)

        await backend.write(put_events(await take_in(request, made)))
        return answer({"success": True})

    async def update_event(request: Request) -> Response:
        event_id = uuid_in_path(request, "event_id")
        update = await take_in(request, lambda body: checked(backend, contract.UPDATE, body))
        await backend.write(put_update(event_id, update))
        return answer({"success": True})

    async def get_event(request: Request) -> Response:
        event_id = uuid_in_path(request, "event_id")
        body = await backend.run(_stored, backend, event_id)
        if body is None:
            raise Refused(404, f"event_id: there is no event {event_id}")
        return answer({"event": orjson.Fragment(body)})

    async def search_events(request: Request) -> Response:
        body = await take_in(request, lambda body: checked(backend, contract.SEARCH, body))
        return await _page(backend, Query.of(body, since="start_time", until="end_time"))

    async def export_events(request: Request) -> Response:
        body = await take_in(request, lambda body: checked(backend, contract.EXPORT, body))
        return await _page(backend, Query.of(body, since="$gte", until="$lte"), body.get("projections"))

    async def document(request: Request) -> Response:
        return Response(contract.document, media_type="application/json")

    made: list[tuple[str, str, Callable[[Request], Any]]] = [
        ("POST", "/v1/events", create_event),
        ("POST", "/v1/events/batch", create_batch),
        ("POST", "/v1/events/search", search_events),
        ("POST", "/v1/events/export", export_events),
        ("POST", "/v1/sessions", create_session),
        ("POST", "/v1/sessions/{session_id}/events/batch", create_session_batch),
    ]
    return [
        *(Route(path, endpoint, methods=[method]) for method, path, endpoint in made),
        Route("/v1/events/{event_id}", _by_method({"GET": get_event, "PUT": update_event}), methods=["GET", "PUT"]),
        Route("/openapi.json", document, methods=["GET"]),
    ]


def checked(backend: Backend, shape: Shape, body: Any, *, lenient: bool = False, name: str = "") -> dict[str, Any]:
    """The body, if it fits the shape.

    Raises:
        Refused: it does not; the message says where.
    """
    found = contract.problems(shape, body, name=name, lenient=lenient or backend.lenient)
    if found:
        raise Refused(400, "; ".join(found))
    fields: dict[str, Any] = body
    return fields


def uuid_in_path(request: Request, name: str) -> str:
    """An id from the path, in lower case.

    Raises:
        Refused: it is no UUID.
    """
    given: str = request.path_params[name]
    if not contract.is_uuid(given):
        raise Refused(400, f"{name}: expected a UUID, got {given[:80]!r}")
    return given.lower()


def batch_of(batch: dict[str, Any]) -> tuple[Job | None, dict[str, Any]]:
    """What stores a checked batch, in one session of its own if it asks for that, and what to answer then."""
    properties = batch.get("session_properties") or {}
    if not batch.get("single_session"):
        rows = intake.rows(batch["events"])
        return put_events(rows) if rows else None, {"event_ids": [row.event_id for row in rows], "success": True}
    known = {name: properties[name] for name in contract.SESSION_PROPERTIES.fields if name in properties}
    session = {**known, "session_id": intake.new_id()}
    rows = intake.rows(batch["events"], session_id=session["session_id"])
    starts = [row.start for row in rows if row.start is not None]
    session.setdefault("start_time", min(starts, default=None))
    session.setdefault("source", rows[0].source if rows else None)
    start, store = put_session(intake.with_own_id(session)), put_events(rows)
    told = {"event_ids": [row.event_id for row in rows], "session_id": session["session_id"], "success": True}
    return lambda transaction: (start(transaction), store(transaction)), told


async def batch_answer(backend: Backend, batch: tuple[Job | None, dict[str, Any]]) -> Response:
    """Store a batch and answer."""
    job, told = batch
    if job is not None:
        await backend.write(job)
    return answer(told)


def session_answer(event: dict[str, Any]) -> Response:
    """The stored session event, with what the contract demands in it."""
    return answer({**_HERE, "parent_id": None, **event})


async def _page(backend: Backend, query: Query, projections: list[str] | None = None) -> Response:
    """One page of a search. What is larger than a piece is sent piece by piece: a page may be gigabytes."""
    bodies, rest, count = await backend.search(_first_piece, backend, query)
    if not rest:
        return answer({"events": [_shown(body, projections) for body in bodies], "count": count})

    async def pieces() -> AsyncIterator[bytes]:
        piece, left = bodies, rest
        yield b'{"events":[' + b",".join(encoded(_shown(body, projections)) for body in piece)
        while left:
            piece, left = await backend.search(some_of, backend.index, left)
            yield b"".join(b"," + encoded(_shown(body, projections)) for body in piece)
        yield b'],"count":%d}' % count

    return StreamingResponse(pieces(), media_type="application/json")


def _first_piece(backend: Backend, query: Query) -> tuple[list[str], list[str], int]:
    ids, count = search(backend.index, query)
    return *some_of(backend.index, ids), count


def _shown(body: str, projections: list[str] | None) -> Any:
    return _projected(fields.load(body, exactly=True), projections) if projections else orjson.Fragment(body)


def _projected(event: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The wanted fields; a dotted one brings the whole object it is in."""
    wanted = {name.partition(".")[0] for name in names}
    return {name: value for name, value in event.items() if name in wanted}


def _stored(backend: Backend, event_id: str) -> str | None:
    return next((body for _, body in stored(backend.index, [event_id])), None)


def _by_method(endpoints: dict[str, Callable[[Request], Any]]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        if request.path_params["event_id"] in ("batch", "search", "export"):  # no ids, but routes of their own
            raise HTTPException(405, headers={"allow": "POST"})
        response: Response = await endpoints["GET" if request.method == "HEAD" else request.method](request)
        return response

    return endpoint
