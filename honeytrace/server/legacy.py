"""The routes before /v1, which HoneyHive's own client still uses: bodies wrapped in `event` or `session`.

They are read more leniently than the others: nulls count as absent, unknown fields are kept, `project` is dropped.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from honeytrace.server import contract, intake
from honeytrace.server.backend import Backend
from honeytrace.server.bodies import Refused, answer, declared, room_for
from honeytrace.server.routes import checked, received, session_answer, store_batch
from honeytrace.server.writing import put_events, put_session, put_update

__all__ = ["routes"]


def routes(backend: Backend) -> list[Route]:
    """POST and PUT /events, POST /events/batch, POST /session/start."""

    async def events(request: Request) -> Response:
        with room_for(declared(request) or 0):
            body = _object(await received(request))
            return await (_update(backend, body) if request.method == "PUT" else _create(backend, body))

    async def batch(request: Request) -> Response:
        with room_for(declared(request) or 0):
            body = _object(await received(request))
            given = body.get("events")
            wanted = {
                "events": [_plain(event) for event in given] if isinstance(given, list) else given,
                "single_session": bool(body.get("single_session") or body.get("is_single_session")),
                "session_properties": body.get("session_properties") or body.get("session") or {},
            }
            return answer(await store_batch(backend, checked(backend, contract.BATCH, wanted, lenient=True)))

    async def start_session(request: Request) -> Response:
        body = _object(await received(request))
        given = _plain(body.get("session", body))
        session = checked(backend, contract.SESSION, given, lenient=True, name="session" if "session" in body else "")
        return session_answer(await backend.write(put_session(intake.with_own_id(session))))

    return [
        Route("/events", events, methods=["POST", "PUT"]),
        Route("/events/batch", batch, methods=["POST"]),
        Route("/session/start", start_session, methods=["POST"]),
    ]


async def _create(backend: Backend, body: dict[str, Any]) -> Response:
    name = "event" if "event" in body else ""
    event = checked(backend, contract.EVENT, _plain(body.get("event", body)), lenient=True, name=name)
    rows = intake.rows([event], name="")
    await backend.write(put_events(rows))
    return answer({"event_id": rows[0].event_id, "success": True})


async def _update(backend: Backend, body: dict[str, Any]) -> Response:
    update = checked(backend, contract.UPDATE, _plain(body))
    event_id = update.pop("event_id", None)
    if not contract.is_uuid(event_id):
        raise Refused(400, f"event_id: expected a UUID, got {str(event_id)[:80]!r}")
    await backend.write(put_update(str(event_id).lower(), update))
    return answer({"success": True})


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(400, "the body: expected an object")
    return body


def _plain(given: Any) -> Any:
    """An event or session without nulls and without the name of its project."""
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if value is not None and name != "project"}
