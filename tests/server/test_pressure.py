"""Many large, slow and unfinished requests at once: memory stays bounded, and others are still answered."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from server_process import ServeProcess, event, uid

HEAD = b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
MEGABYTE = 1024 * 1024
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")


def most_memory(server: ServeProcess) -> int:
    """The most the server has held at any time, in bytes."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", text)
    assert found
    return int(found[1]) * 1024


def own_memory(server: ServeProcess) -> int:
    """What the server holds at this moment without the files it has mapped, in bytes."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+)", text)
    assert found
    return int(found[1]) * 1024


@contextmanager
def connections(server: ServeProcess, number: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20)) for _ in range(number)
        ]


def test_bodies_that_were_announced_and_never_come_keep_no_room_from_others(store: Path) -> None:
    with ServeProcess(store) as server, connections(server, 40) as held:
        for connection in held:
            connection.sendall(HEAD + b"content-length: 5000000\r\n\r\n{")
        for _ in range(3):  # whoever is first in line has been heard by then
            assert server.post("/v1/events", event(inputs={"text": "x" * 4 * MEGABYTE})).status_code == 200


@linux
def test_bodies_that_are_held_back_fill_the_room_for_bodies_and_no_more(store: Path) -> None:
    with ServeProcess(store) as server, connections(server, 110) as held:
        assert server.post("/v1/events", event()).status_code == 200
        before = most_memory(server)
        piece = b"%x\r\n" % 100_000 + b"x" * 100_000 + b"\r\n"

        def send(connection: socket.socket) -> None:
            try:
                connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n" + piece * 15)
            except OSError:
                pass  # refused while it was sending

        threads = [threading.Thread(target=send, args=(connection,)) for connection in held]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        # Whoever is refused gives back what it has sent, 1.5 MB at most: so much may be free.
        large = server.post("/v1/events", event(inputs={"text": "x" * 4 * MEGABYTE}))
        assert (large.status_code, large.headers["retry-after"]) == (503, "1")
        assert server.post("/v1/events", event()).status_code == 200  # for small ones there is always room
        assert most_memory(server) - before < 220 * MEGABYTE


@linux
@pytest.mark.slow
def test_large_bodies_are_worked_on_one_after_the_other(store: Path) -> None:
    body = b'{"event_type":"tool","inputs":{"a":[' + b"[]," * 1_600_000 + b"[]]}}"
    answers: list[int] = []

    def post(server: ServeProcess) -> None:
        headers = {"content-type": "application/json"}
        answers.append(httpx.post(f"{server.url}/v1/events", content=body, headers=headers, timeout=300).status_code)

    with ServeProcess(store) as server:
        before = most_memory(server)
        threads = [threading.Thread(target=post, args=(server,)) for _ in range(18)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert answers == [200] * 18
        assert most_memory(server) - before < 1000 * MEGABYTE  # decoded at once they take 1,500


@linux
@pytest.mark.slow
def test_a_session_of_many_large_events_is_read_piece_by_piece(store: Path) -> None:
    session_id = uid()
    with ServeProcess(store) as server:
        server.client.timeout = 120
        for _ in range(60):
            large = event(session_id=session_id, inputs={"text": "x" * 4 * MEGABYTE})
            assert server.post("/v1/events", large).status_code == 200
        before = own_memory(server)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.get, f"/ui/api/sessions/{session_id}")
            most = before
            while not asked.done():
                most = max(most, own_memory(server))
        assert len(asked.result().json()["events"]) == 61
        assert most - before < 100 * MEGABYTE  # together they are 240
        most = own_memory(server)
        with server.client.stream("GET", f"/ui/api/sessions/{session_id}/download") as download:
            size = 0
            for piece in download.iter_bytes():
                size += len(piece)
                most = max(most, own_memory(server))
        assert size > 240 * MEGABYTE
        mine = {"field": "inputs.text", "operator": "contains", "value": "xx"}
        search = {"filters": [mine, {"field": "session_id", "operator": "is", "value": session_id}]}
        with server.client.stream("POST", "/v1/events/search", json=search) as found:
            size = 0
            for piece in found.iter_bytes():
                size += len(piece)
                most = max(most, own_memory(server))
        assert size > 240 * MEGABYTE
        assert piece.endswith(b',"count":60}')
        assert most - before < 200 * MEGABYTE  # a piece is two or three events


@pytest.mark.slow
def test_the_page_does_not_wait_behind_long_searches(store: Path) -> None:
    with ServeProcess(store) as server:
        for _ in range(10):
            events = [event(inputs={"text": "x" * 200}, session_id=uid()) for _ in range(1500)]
            assert server.post("/v1/events/batch", {"events": events}).status_code == 200
        assert server.search(limit=1)["count"] == 30_000
        nothing = {"filters": [{"field": "inputs.text", "operator": "contains", "value": "y"}]}
        with ThreadPoolExecutor(12) as pool:
            searches = [
                pool.submit(httpx.post, f"{server.url}/v1/events/search", json=nothing, timeout=300) for _ in range(12)
            ]
            wait(searches, return_when=FIRST_COMPLETED)
            assert server.get("/ui/api/sessions").status_code == 200
            still = sum(not search.done() for search in searches)
            assert {search.result().status_code for search in searches} == {200}
    assert still >= 6  # in one line with them it would have been the last but three


def test_who_listens_beyond_the_hundredth_is_told_to_come_back(store: Path) -> None:
    with ServeProcess(store) as server, connections(server, 101) as held:
        heads = []
        for connection in held:
            connection.sendall(b"GET /ui/api/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            heads.append(connection.recv(15))
        assert heads == [b"HTTP/1.1 200 OK"] * 100 + [b"HTTP/1.1 503 Se"]
