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
from honeytrace.server.bodies import Refused, answer, take_in
from honeytrace.server.routes import batch_answer, batch_of, checked, session_answer
from honeytrace.server.writing import Job, put_events, put_session, put_update

__all__ = ["routes"]


def routes(backend: Backend) -> list[Route]:
    """POST and PUT /events, POST /events/batch, POST /session/start."""

    async def events(request: Request) -> Response:
        if request.method == "PUT":
            event_id, update = await take_in(request, lambda body: _update_of(backend, body))
            await backend.write(put_update(event_id, update))
            return answer({"success": True})
        rows = await take_in(request, lambda body: _rows_of(backend, body))
        await backend.write(put_events(rows))
        return answer({"event_id": rows[0].event_id, "success": True})

    async def batch(request: Request) -> Response:
        return await batch_answer(backend, await take_in(request, lambda body: _batch_of(backend, body)))

    async def start_session(request: Request) -> Response:
        session = await take_in(request, lambda body: _session_of(backend, body))
        return session_answer(await backend.write(put_session(session)))

    return [
        Route("/events", events, methods=["POST", "PUT"]),
        Route("/events/batch", batch, methods=["POST"]),
        Route("/session/start", start_session, methods=["POST"]),
    ]


def _rows_of(backend: Backend, body: Any) -> list[intake.Row]:
    body = _object(body)
    name = "event" if "event" in body else ""
    event = checked(backend, contract.EVENT, _plain(body.get("event", body)), lenient=True, name=name)
    return intake.rows([event], name="")


def _batch_of(backend: Backend, body: Any) -> tuple[Job | None, dict[str, Any]]:
    body = _object(body)
    given = body.get("events")
    wanted = {
        "events": [_plain(event) for event in given] if isinstance(given, list) else given,
        "single_session": bool(body.get("single_session") or body.get("is_single_session")),
        "session_properties": body.get("session_properties") or body.get("session") or {},
    }
    return batch_of(checked(backend, contract.BATCH, wanted, lenient=True))


def _session_of(backend: Backend, body: Any) -> dict[str, Any]:
    body = _object(body)
    given = _plain(body.get("session", body))
    name = "session" if "session" in body else ""
    return intake.with_own_id(checked(backend, contract.SESSION, given, lenient=True, name=name))


def _update_of(backend: Backend, body: Any) -> tuple[str, dict[str, Any]]:
    update = checked(backend, contract.UPDATE, _plain(_object(body)))
    event_id = update.pop("event_id", None)
    if not contract.is_uuid(event_id):
        raise Refused(400, f"event_id: expected a UUID, got {str(event_id)[:80]!r}")
    return str(event_id).lower(), update


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(400, "the body: expected an object")
    return body


def _plain(given: Any) -> Any:
    """An event or session without nulls and without the name of its project."""
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if value is not None and name != "project"}
