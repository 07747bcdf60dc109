"""What the server refuses: wrong keys, foreign hosts, pages of other sites, large, packed, deep and slow bodies."""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import ServeProcess, event, uid

BODY = json.dumps({"event_type": "tool", "inputs": {}}).encode()
JSON = {"content-type": "application/json"}


def raw(server: ServeProcess, request: bytes, *, timeout: float = 20.0) -> bytes:
    """Send bytes as they are; return what comes back until the server closes or the answer is complete."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            head, _, rest = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            if length and len(rest) >= int(length[1]):
                break
        return received


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("keyed") / "traces.db", "--api-key", "hh_right") as process:
        yield process


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer hh_righ", "Bearer hh_wrong", "hh_right", "Basic hh_right"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/events",
        "/v1/events/search",
        "/events",
        "/session/start",
        "/ui/api/sessions",
        "/ui/api/live",
        "/openapi.json",
    ],
)
def test_without_the_right_key_the_answer_is_401(keyed: ServeProcess, path: str, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    method = "GET" if path.startswith(("/ui", "/openapi")) else "POST"
    answer = keyed.client.request(method, path, headers={**JSON, **headers}, content=BODY if method == "POST" else None)
    assert (answer.status_code, answer.json()["success"]) == (401, False)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_right_key_the_server_answers(keyed: ServeProcess) -> None:
    headers = {"authorization": "Bearer hh_right"}
    assert keyed.post("/v1/events", event(), headers=headers).status_code == 200
    assert keyed.get("/ui/api/sessions", headers=headers).status_code == 200


def test_the_page_can_ask_without_a_key_whether_it_needs_one(keyed: ServeProcess, server: ServeProcess) -> None:
    assert keyed.get("/ui/api/info").json()["key_needed"] is True
    assert "store" not in keyed.get("/ui/api/info").json()
    assert server.get("/ui/api/info").json()["key_needed"] is False


def test_an_address_others_can_reach_gets_a_key_that_is_printed(store: Path) -> None:
    with ServeProcess(store, "--host", "0.0.0.0") as server:
        key = server.next_line().rsplit(" ", 1)[1].strip()
        assert len(key) >= 24
        assert server.post("/v1/events", event()).status_code == 401
        headers = {"authorization": f"Bearer {key}", "host": "whatever.example"}
        assert server.post("/v1/events", event(), headers=headers).status_code == 200


def test_a_port_that_is_taken_is_said_in_one_line(server: ServeProcess, store: Path) -> None:
    other = ServeProcess(store, port=server.port, expect_start=False)
    assert other.process.wait(30) == 2
    assert f"127.0.0.1:{server.port}" in other.first_line
    other.stop()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]"])
@pytest.mark.parametrize("path", ["/", "/ui/api/sessions", "/ui/api/info", "/openapi.json", "/static/x.js"])
def test_a_name_that_was_made_to_lead_here_is_refused(server: ServeProcess, host: str, path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\nhost: {host}:{server.port}\r\n\r\n".encode())
    assert status(answer) in (400, 403)
    assert b"session" not in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_names_of_this_machine_are_answered_for(server: ServeProcess, host: str) -> None:
    answer = raw(server, f"GET /ui/api/info HTTP/1.1\r\nhost: {host}:{server.port}\r\n\r\n".encode())
    assert status(answer) == 200


def test_a_host_that_was_allowed_is_answered_for(store: Path) -> None:
    with ServeProcess(store, "--allow-host", "traces.example") as server:
        assert server.get("/ui/api/info", headers={"host": "traces.example"}).status_code == 200
        assert server.get("/ui/api/info", headers={"host": "other.example"}).status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "file://"])
def test_pages_of_other_sites_can_neither_write_nor_read(server: ServeProcess, origin: str) -> None:
    event_id = uid()
    for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
        body = json.dumps(event(event_id=event_id))
        answer = server.client.post("/v1/events", content=body, headers={"origin": origin, "content-type": kind})
        assert answer.status_code == 403
    assert server.get(f"/v1/events/{event_id}").status_code == 404
    answer = server.get("/ui/api/sessions", headers={"origin": origin})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_page_itself_may_write(server: ServeProcess) -> None:
    headers = {"origin": server.url, "sec-fetch-site": "same-origin"}
    assert server.post("/v1/events", event(), headers=headers).status_code == 200


def test_a_preflight_is_not_answered_with_permission(server: ServeProcess) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = server.client.options("/v1/events", headers=headers)
    assert answer.status_code in (403, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_other_sites_can_link_to_the_page_but_not_embed_what_it_reads(server: ServeProcess) -> None:
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert server.get("/ui/api/sessions", headers=embedded).status_code == 403
    assert (
        server.get(
            "/v1/events/" + uid(), headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        ).status_code
        == 403
    )
    assert server.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code in (
        200,
        404,
    )


def test_answers_forbid_scripts_frames_and_caching(server: ServeProcess) -> None:
    headers = server.get("/ui/api/info").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
def test_a_body_that_is_not_said_to_be_json_is_415(server: ServeProcess, kind: str) -> None:
    assert server.client.post("/v1/events", content=BODY, headers={"content-type": kind}).status_code == 415


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_body_in_another_encoding_is_400(server: ServeProcess, encoding: str) -> None:
    body = json.dumps(event(event_name="grün"), ensure_ascii=False).encode(encoding)
    assert server.client.post("/v1/events", content=body, headers=JSON).status_code == 400


def test_a_body_that_says_it_is_too_large_is_413_before_it_is_read(server: ServeProcess) -> None:
    head = f"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {6 << 20}"
    began = time.monotonic()
    assert status(raw(server, head.encode() + b"\r\n\r\n")) == 413
    assert time.monotonic() - began < 10


def test_a_body_that_turns_out_too_large_is_413(server: ServeProcess) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(7):
            yield b" " * (1 << 20)

    assert server.client.post("/v1/events", content=chunks(), headers=JSON).status_code == 413
    assert server.post("/v1/events", event()).status_code == 200


def test_five_megabytes_are_taken(server: ServeProcess) -> None:
    event_id = uid()
    text = "x" * (5 * 1024 * 1024 - 200)
    assert server.post("/v1/events", event(event_id=event_id, outputs={"t": text})).status_code == 200
    assert server.event(event_id)["outputs"] == {"t": text}


def test_a_bomb_is_refused_without_being_unpacked(server: ServeProcess) -> None:
    def memory() -> int:
        text = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1])  # type: ignore[index]

    bomb = gzip.compress(b" " * 120_000_000, 9)
    assert len(bomb) < 1_000_000
    before = memory() if Path("/proc/self/status").exists() else 0
    answer = server.client.post("/v1/events", content=bomb, headers={**JSON, "content-encoding": "gzip"})
    assert answer.status_code == 413
    if before:
        assert memory() - before < 60_000  # KiB


def test_a_bomb_of_brackets_is_refused(server: ServeProcess) -> None:
    for body in (b"[" * 4_000_000, b'{"a":' * 800_000, b'{"event_type":"tool","inputs":{"a":' + b"[" * 2_000_000):
        assert server.client.post("/v1/events", content=body, headers=JSON).status_code == 400
    wide = b'{"event_type":"tool","inputs":{"a":[' + b"[]," * 1_000_000 + b"[]]}}"
    assert server.client.post("/v1/events", content=wide, headers=JSON).status_code == 200


def test_slow_and_half_closed_connections_hold_nobody_up(server: ServeProcess) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    waiting = []
    for number in range(60):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connection.sendall((head, head + b"content-length: 100\r\n\r\n{", b"P", b"")[number % 4])
        if number % 3 == 0:
            connection.shutdown(socket.SHUT_WR)
        waiting.append(connection)
    began = time.monotonic()
    assert server.post("/v1/events", event()).status_code == 200
    assert server.search(limit=1)["events"]
    assert time.monotonic() - began < 10
    for number, connection in enumerate(waiting):
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert server.post("/v1/events", event()).status_code == 200


def test_who_has_sent_all_and_only_listens_is_answered(server: ServeProcess) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    for request in (
        head + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):  # and the server closes: it will hear nothing more
                received += chunk
            assert status(received) == 200


def test_a_client_that_leaves_with_its_request_still_gets_it_stored_or_not_at_all(server: ServeProcess) -> None:
    ids = [uid() for _ in range(10)]
    for event_id in ids:
        body = json.dumps(event(event_id=event_id)).encode()
        head = b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert server.post("/v1/events", event()).status_code == 200
    for event_id in ids:
        assert server.get(f"/v1/events/{event_id}").status_code in (200, 404)


@pytest.mark.slow
def test_a_connection_that_never_asks_is_closed(server: ServeProcess) -> None:
    for sent in (b"", b"GET / HTT"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(sent)
            connection.settimeout(60)
            received = connection.recv(1000)
            assert received == b"" or b"408" in received or b"400" in received


def test_garbage_is_answered_or_dropped_and_the_server_lives(server: ServeProcess) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"\r\n" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 1000,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1000):
                pass
    assert server.post("/v1/events", event()).status_code == 200


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_beginning(server: ServeProcess) -> None:
    # Head and body of an answer are two segments: held back until the first is acknowledged, the second is 40 ms late.
    took = []
    for _ in range(40):
        began = time.monotonic()
        assert server.get("/ui/api/info").status_code == 200
        took.append(time.monotonic() - began)
    assert min(took[10:]) < 0.03
