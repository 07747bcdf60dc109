"""Records as programs send them to the local store, written there without a program."""

from __future__ import annotations

import json
import time

from honeytrace._event import Event
from honeytrace.exporters.local import LocalExporter


def event(session, event_id, parent=None, **fields):
    """An event named after its id, which need not be unique: it is made so by the session."""
    body = {"event_id": f"{event_id} of {session}", "session_id": session, "parent_id": parent or session}
    body |= {"event_type": "tool", "event_name": event_id, "inputs": {}, "duration": 12, **fields}
    return Event("event", body["event_id"].encode(), json.dumps(body).encode(), 0)


def session(session_id, name, start, **fields):
    """A session that took 3.4 seconds."""
    body = {"session_id": session_id, "session_name": name, "start_time": start, "duration": 3400, **fields}
    return Event("session", session_id.encode(), json.dumps(body).encode(), 0)


def export(path, *records):
    """Write records to a store."""
    exporter = LocalExporter(path)
    exporter.export(records, time.monotonic() + 5)
    exporter.close()
