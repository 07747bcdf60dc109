"""A journal's files outlive the process, go to the right destination, and to one process at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from delivery_fakes import Recording, an_event, assert_closed

import honeytrace
from honeytrace import _journal
from honeytrace._delivery import Delivery
from honeytrace._event import Event
from honeytrace._folders import DestinationFolder, WriterState, all_destinations
from honeytrace._journal import Journal
from honeytrace._records import frame
from honeytrace._segment import HEADER
from honeytrace.exceptions import ExportError

ROOMY = 1 << 30
RECORD = len(frame("event", b"0" * 36, b"x" * 1000, 1))

PREAMBLE = """
import contextlib, os, resource, shutil, signal, sys, threading, time, warnings
from pathlib import Path
warnings.simplefilter("ignore", DeprecationWarning)  # os.fork beside threads is the point
from delivery_fakes import an_event, assert_closed
from honeytrace import _journal
from honeytrace._folders import DestinationFolder
from honeytrace._journal import Journal
journals = Path(sys.argv[1])

def small():
    _journal._FIRST_BYTES = _journal._SEGMENT_BYTES = 1 << 16

def a_journal(name="j", max_bytes=1 << 30):
    return Journal(name, max_bytes, DestinationFolder.of(journals, name, "https://somewhere|key"))

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def put(journal, body):
    return journal.append(*an_event(body=body))

def drain(journal, most=1000):
    bodies = []
    while batch := journal.take(1 << 22, most).records and journal.take(1 << 22, most):
        bodies += [record.body for record in batch.records]
        journal.acknowledge(batch)
    return bodies
"""


def start(script: str, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    package, here = Path(honeytrace.__file__).parents[1], Path(__file__).parent
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-X", "dev", "-c", PREAMBLE + textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{here}"},
        cwd=here,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def run(script: str, *arguments: object, ending: int = 0, noise: str = "") -> list[str]:
    """Run a script in a process of its own; give its lines. On stderr may only stand what is announced."""
    with start(script, *arguments) as process:
        out, err = process.communicate(timeout=60)
    assert noise in err.decode() if noise else err == b"", err.decode()
    assert process.returncode == ending, err.decode()
    return out.decode().splitlines()


def a_journal(journals: Path, name: str = "j", max_bytes: int = ROOMY) -> Journal:
    return Journal(name, max_bytes, DestinationFolder.of(journals, name, "https://somewhere|key"))


def put(journal: Journal, body: bytes) -> bool:
    return journal.append(*an_event(body=body))


def drain(journal: Journal, most: int = 1000) -> list[bytes]:
    bodies = []
    while (batch := journal.take(1 << 22, most)).records:
        bodies += [record.body for record in batch.records]
        journal.acknowledge(batch)
    return bodies


def files(journals: Path) -> list[Path]:
    # Not rglob: a folder that vanishes meanwhile is an error to it (before Python 3.13).
    walk = os.walk(journals)
    return sorted(Path(folder, name) for folder, *names in walk for name in sum(names, []) if name.endswith(".seg"))


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal, "_FIRST_BYTES", 1 << 16)
    monkeypatch.setattr(_journal, "_SEGMENT_BYTES", 1 << 16)


@contextlib.contextmanager
def left_by_a_killed_process(journals: Path, script: str) -> Iterator[None]:
    run("small()\n" + textwrap.dedent(script) + "\nos.kill(os.getpid(), signal.SIGKILL)", journals, ending=-9)
    yield


# Order, rotation, room


def test_nothing_is_made_before_there_is_something_to_keep(journals: Path) -> None:
    journal = a_journal(journals)
    journal.adopt()
    assert journal.empty
    journal.close()
    assert not journals.exists()


@pytest.mark.usefixtures("small")
def test_records_come_out_in_order_over_many_files_which_go_as_they_are_delivered(journals: Path) -> None:
    journal = a_journal(journals)
    bodies = [b"%d" % number + b"x" * 1000 for number in range(500)]
    assert all(put(journal, body) for body in bodies)
    made = files(journals)
    assert len(made) > 8
    assert journal.take(ROOMY, 3) == journal.take(ROOMY, 3)
    out = []
    while not journal.empty:
        batch = journal.take(ROOMY, 17)
        out += [record.body for record in batch.records]
        journal.acknowledge(batch)
        assert_closed(journal.books())
        assert files(journals) == made[-len(files(journals)) :]
    assert out == bodies
    assert files(journals) == made[-1:]  # the one that is written to
    journal.close()
    assert files(journals) == []
    assert os.listdir(next(journals.iterdir())) == ["destination.json"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("in_files", [True, False])
def test_the_bound_is_exact_and_room_comes_back(journals: Path, in_files: bool) -> None:
    bound = 200 * RECORD
    journal = a_journal(journals, max_bytes=bound) if in_files else Journal("j", bound)
    taken = 0
    for _ in range(3):
        while put(journal, b"x" * 1000):
            taken += 1
        assert journal.written - journal.released == bound
        assert journal.books().pending == 200
        journal.acknowledge(journal.take(ROOMY, 7))
    assert taken == 214
    books = journal.books()
    assert (books.recorded, books.pending, dict(books.dropped)) == (217, 193, {"full": 3})
    assert len(drain(journal)) == 193
    assert journal.written == journal.released
    journal.close()


@pytest.mark.usefixtures("small")
def test_a_record_larger_than_a_segment_gets_a_file_of_its_own(journals: Path) -> None:
    journal = a_journal(journals)
    bodies = [b"a", b"b" * 300_000, b"c", b"d" * 65_536, b"e" * 65_000, b"f"]
    assert all(put(journal, body) for body in bodies)
    assert drain(journal, 1) == bodies
    assert not journal.append(*an_event(body=b"x" * ROOMY)) if ROOMY < 1 << 20 else True
    journal.close()


def test_a_record_larger_than_the_bound_is_refused(journals: Path) -> None:
    journal = a_journal(journals, max_bytes=10_000)
    assert not put(journal, b"x" * 10_000)
    assert put(journal, b"x" * 1000)
    assert drain(journal) == [b"x" * 1000]
    assert dict(journal.books().dropped) == {"full": 1}
    journal.close()


def test_everything_is_private(journals: Path) -> None:
    before = os.umask(0)
    try:
        journal = a_journal(journals)
        put(journal, b"{}")
        for path in (journals, *journals.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        journal.close()
    finally:
        os.umask(before)


def test_descriptors_do_not_leak(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal, "_FIRST_BYTES", 1 << 16)
    monkeypatch.setattr(_journal, "_SEGMENT_BYTES", 1 << 16)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        journal = a_journal(journals)
        for _ in range(200):
            put(journal, b"x" * 1000)
        drain(journal)
        journal.tidy()
        assert len(os.listdir("/dev/fd")) == before
        put(journal, b"left")
        journal.close()
        assert len(os.listdir("/dev/fd")) == before
        other = a_journal(journals)
        other.adopt()
        assert drain(other) == [b"left"]
        other.close()
        assert len(os.listdir("/dev/fd")) == before
    assert files(journals) == []


# Adoption


@pytest.mark.usefixtures("small")
def test_what_a_killed_process_left_is_delivered_once_after_our_own_and_removed(journals: Path) -> None:
    with left_by_a_killed_process(
        journals,
        """
        journal = a_journal()
        assert all(put(journal, b"%d" % n + b"x" * 1000) for n in range(150))
        journal.append(*an_event("session"))
        """,
    ):
        journal = a_journal(journals)
        put(journal, b"own")
        journal.adopt()
        books = journal.books()
        assert (books.recorded, books.adopted, books.pending, books.others.pending) == (151, 150, 151, 1)
        assert_closed(books)
        bodies = drain(journal, 7)
        assert bodies == [b"own", *(b"%d" % n + b"x" * 1000 for n in range(150)), b"{}"]
        assert journal.books().delivered == 151
        journal.close()
        assert files(journals) == []
        assert os.listdir(next(journals.iterdir())) == ["destination.json"]


def test_what_the_dead_left_takes_turns_with_our_own(journals: Path) -> None:
    with left_by_a_killed_process(journals, "journal = a_journal()\nfor n in range(6): put(journal, b'left%d' % n)"):
        journal = a_journal(journals)
        journal.adopt()
        order = []
        for n in range(9):
            put(journal, b"own%d" % n)  # there is always more
            put(journal, b"more%d" % n)
            order.append(journal.take(ROOMY, 2).records[0].body[:3])
            assert journal.take(ROOMY, 2) == journal.take(ROOMY, 2)  # a batch that has not arrived comes again
            journal.acknowledge(journal.take(ROOMY, 2))
        assert [place for place, what in enumerate(order) if what == b"lef"] == [1, 3, 5]
        journal.close()


def test_what_does_not_leave_lets_what_the_dead_left_go_first(journals: Path) -> None:
    """A rating may be given for an answer of a process that was killed before it delivered it."""
    with left_by_a_killed_process(journals, "put(a_journal(), b'answer')"):
        journal = a_journal(journals)

        def needs_the_answer(batch: Sequence[Event]) -> None:
            if batch[0].body == b"rating" and not exporter.events:
                raise ExportError("nothing to update yet (HTTP 404)")

        exporter = Recording(needs_the_answer)
        delivery = Delivery(journal, exporter, batch_bytes=ROOMY, batch_count=10)
        put(journal, b"rating")
        for _ in range(3):
            delivery.attempt(time.monotonic() + 5, wait=True)
        assert [event.body for event in exporter.events] == [b"answer", b"rating"]
        journal.close()


@pytest.mark.usefixtures("small")
def test_what_the_dead_had_delivered_is_not_delivered_again(journals: Path) -> None:
    with left_by_a_killed_process(
        journals,
        """
        journal = a_journal()
        assert all(put(journal, b"%d" % n + b"x" * 1000) for n in range(150))
        for _ in range(9):
            journal.acknowledge(journal.take(1 << 20, 11))
        """,
    ):
        first = a_journal(journals)
        first.adopt()
        batch = first.take(ROOMY, 5)
        assert [record.body[:4] for record in batch.records] == [b"%dx" % n for n in range(99, 100)] + [
            b"%d" % n + b"x" for n in range(100, 104)
        ] or batch.records[0].body.startswith(b"9")
        first.acknowledge(batch)
        delivered = first.books().delivered
        first.close()
        assert_closed(first.books())
        second = a_journal(journals)
        second.adopt()
        rest = drain(second)
        assert rest[0] != batch.records[-1].body
        assert [int(body.rstrip(b"x")) for body in rest] == list(range(150 - len(rest), 150))
        assert 150 - len(rest) == int(batch.records[0].body.rstrip(b"x")) + delivered
        second.close()


def test_a_torn_or_damaged_record_costs_itself_and_is_counted(journals: Path) -> None:
    with left_by_a_killed_process(journals, "journal = a_journal()\nfor n in range(10): put(journal, b'%d' % n)"):
        (path,) = files(journals)
        data = bytearray(path.read_bytes())
        size = len(frame("event", b"0" * 36, b"0", 1))
        data[HEADER + 3 * size + 40] ^= 255
        data[HEADER + 10 * size - 1] = 0  # the last byte of the last one never came
        path.write_bytes(data)
        journal = a_journal(journals)
        journal.adopt()
        assert drain(journal) == [b"%d" % n for n in (0, 1, 2, 4, 5, 6, 7, 8)]
        books = journal.books()
        assert (books.recorded, books.delivered, books.pending, dict(books.dropped)) == (10, 8, 0, {"damaged": 2})
        journal.close()
        assert files(journals) == []


def test_what_cannot_be_read_stays_and_holds_up_nobody(journals: Path) -> None:
    folder = DestinationFolder.of(journals, "j", "https://somewhere|key")
    folder.make()
    for number in range(20):  # sorted before the real one
        other = folder.path / f"0{number}-other"
        other.mkdir()
        (other / "000001.seg").write_bytes(b"htjrnl\x02" + bytes(100))
    odd = folder.path / "1-odd"
    odd.mkdir()
    (odd / "000001.seg").mkdir()
    os.mkfifo(odd / "000002.seg")
    (folder.path / "2-empty").mkdir()
    with left_by_a_killed_process(journals, "put(a_journal(), b'real')"):
        journal = a_journal(journals)
        for _ in range(2):
            journal.adopt()
        assert drain(journal) == [b"real"]
        journal.close()
    assert len(files(journals)) == 22


def test_a_folder_without_a_lock_is_adopted_too(journals: Path) -> None:
    with left_by_a_killed_process(journals, "put(a_journal(), b'real')"):
        (lock,) = journals.rglob("lock")
        lock.unlink()
        journal = a_journal(journals)
        journal.adopt()
        assert drain(journal) == [b"real"]
        journal.close()
        assert files(journals) == []


def test_a_living_writer_is_never_adopted(journals: Path) -> None:
    script = "journal = a_journal(); put(journal, b'living'); say('ready'); os.read(0, 1); say(drain(journal))"
    with start(script, journals) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        journal = a_journal(journals)
        journal.adopt()
        assert journal.empty
        (folder,) = all_destinations(journals)
        assert [WriterState(path).alive for path in folder.writers()] == [True]
        assert WriterState(next(folder.writers())).process == str(process.pid)
        out, err = process.communicate(b"x", timeout=20)
        assert (out, err) == (b"[b'living']\n", b"")
        assert [WriterState(path).alive for path in folder.writers()] == [False]
        journal.close()


def test_another_destination_key_exporter_or_home_sees_nothing_of_it(journals: Path, tmp_path: Path) -> None:
    with left_by_a_killed_process(journals, "put(a_journal(), b'secret')"):
        for folder in (
            DestinationFolder.of(journals, "j", "https://somewhere|another key"),
            DestinationFolder.of(journals, "j", "https://elsewhere|key"),
            DestinationFolder.of(journals, "k", "https://somewhere|key"),
            DestinationFolder.of(tmp_path / "other", "j", "https://somewhere|key"),
        ):
            journal = Journal("j", ROOMY, folder)
            journal.adopt()
            assert journal.empty
            journal.close()
        assert len(files(journals)) == 1


def test_exporters_whose_names_look_alike_on_disk_share_nothing(journals: Path) -> None:
    paths = {DestinationFolder.of(journals, name, "same").path for name in ("a/b", "a_b", "a:b", "x" * 50, "x" * 60)}
    assert len(paths) == 5


def test_several_adopters_at_once_deliver_everything_once(journals: Path) -> None:
    for number in range(4):
        run(
            f"small(); journal = a_journal()\nfor n in range(200): put(journal, b'{number}/%d ' % n + b'x' * 500)\n"
            "os._exit(0)",
            journals,
        )
    script = """
        def segments():  # os.walk does not mind that a folder goes while it looks
            return [name for _, _, names in os.walk(journals) for name in names if name.endswith(".seg")]

        journal = a_journal()
        say("ready")
        os.read(0, 1)
        end = time.monotonic() + 30
        while segments() and time.monotonic() < end:
            journal.adopt()
            for body in drain(journal, 13):
                say(body.split()[0].decode())
            assert_closed(journal.books())
        journal.close()
    """
    adopters = [start(script, journals) for _ in range(3)]
    for one in adopters:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
    for one in adopters:
        assert one.stdin is not None
        one.stdin.write(b"x")
        one.stdin.flush()
    lines = []
    for one in adopters:
        out, err = one.communicate(timeout=60)
        assert err == b""
        lines += out.decode().splitlines()
    assert sorted(lines) == sorted(f"{number}/{n}" for number in range(4) for n in range(200))


@pytest.mark.usefixtures("small")
def test_an_adopter_that_is_killed_hands_on_what_it_had_not_delivered(journals: Path) -> None:
    with left_by_a_killed_process(
        journals, "journal = a_journal()\nfor n in range(150): put(journal, b'%d ' % n + b'x' * 1000)"
    ):
        run(
            """
            journal = a_journal()
            journal.adopt()
            for _ in range(7): journal.acknowledge(journal.take(1 << 20, 10))
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            journals,
            ending=-9,
        )
        journal = a_journal(journals)
        journal.adopt()
        numbers = [int(body.split()[0]) for body in drain(journal)]
        # Its seven batches ended where segments do; none of them comes again.
        assert numbers == list(range(numbers[0], 150))
        assert 55 <= numbers[0] <= 70
        journal.close()


# Late records, removal, damage while running


def test_late_records_are_kept_for_the_next_process(journals: Path) -> None:
    run(
        """
        journal = a_journal()
        put(journal, b"first"); drain(journal); journal.tidy()
        assert not list(journals.rglob("*.seg"))
        put(journal, b"tidied"); journal.tidy()
        journal.close()
        put(journal, b"late")
        assert (journal.left_behind(), journal.in_memory()) == ((2, 0), 0)
        journal.close()
        put(journal, b"later")
        """,
        journals,
    )
    journal = a_journal(journals)
    journal.adopt()
    assert sorted(drain(journal)) == [b"late", b"later", b"tidied"]
    journal.close()


def test_a_relative_folder_stays_where_it_was_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal = a_journal(Path("here"))
    put(journal, b"{}")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert drain(journal) == [b"{}"]
    journal.close()
    assert files(tmp_path) == []


@pytest.mark.parametrize("how", ["tree", "file", "truncated", "shortened", "replaced", "read-only"])
def test_files_that_others_change_cost_at_most_what_was_in_them(journals: Path, how: str) -> None:
    lines = run(
        """
        small()
        journal = a_journal()
        for n in range(150): put(journal, b"before%d " % n + b"x" * 1000)
        for path in sorted(journals.rglob("*.seg")):
            if sys.argv[2] == "tree": shutil.rmtree(journals, ignore_errors=True)
            elif sys.argv[2] == "file": path.unlink()
            elif sys.argv[2] == "truncated": os.truncate(path, 0)
            elif sys.argv[2] == "shortened": os.truncate(path, 30000)
            elif sys.argv[2] == "read-only": path.chmod(0)
            else: path.unlink(); path.write_bytes(b"not ours")
        for n in range(150):
            time.sleep(0.001)
            assert put(journal, b"after%d " % n + b"x" * 1000)
            assert_closed(journal.books())
        bodies = [body.split()[0] for body in drain(journal, 10)]
        assert [body for body in bodies if body.startswith(b"after")] == [b"after%d" % n for n in range(150)]
        books = journal.books()
        assert_closed(books)
        assert books.pending == 0 and books.recorded == 300, books
        say(books.delivered)
        journal.close()
        assert_closed(journal.books())
        """,
        journals,
        how,
        noise="" if how == "read-only" else "was removed or cut short",
    )
    delivered = int(lines[0])
    if how in ("truncated", "shortened"):
        assert 150 <= delivered < 300
    else:
        assert delivered == 300
    assert sum(path.read_bytes() != b"not ours" for path in files(journals)) == 0


def test_a_file_that_is_cut_short_is_noticed_whatever_time_the_events_say_they_are_from(journals: Path) -> None:
    run(
        """
        import honeytrace
        class Hanging:
            name, destination = "hanging", "there"
            def export(self, batch, deadline): threading.Event().wait()
            def close(self): pass
        honeytrace.init(exporters=[Hanging()], journal=journals)
        moment = time.time() + 0.1
        with honeytrace.session("import"):
            while time.time() < moment + 0.01: honeytrace.log_event("x", start_time=moment)
            for path in journals.rglob("*.seg"): os.truncate(path, 0)
            time.sleep(0.001)
            for _ in range(100): honeytrace.log_event("y", start_time=moment)
        os._exit(0)
        """,
        journals,
        noise="was removed or cut short",
    )


def test_nothing_is_written_to_a_file_that_got_the_number_of_one_of_ours(journals: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run(
        """
        small()
        journal = a_journal()
        for n in range(100): put(journal, b"before%d " % n + b"x" * 1000)
        journal.acknowledge(journal.take(1 << 20, 3))
        os.closerange(3, 200)
        mine = [os.open(sys.argv[2] + str(n), os.O_RDWR | os.O_CREAT) for n in range(30)]
        for fd in mine: os.write(fd, b"z" * 100)
        numbers = {os.fstat(fd).st_ino for fd in mine}
        for n in range(100):
            time.sleep(0.001)
            assert put(journal, b"after%d " % n + b"x" * 1000)
        journal.sync()
        bodies = [body.split()[0] for body in drain(journal, 7)]
        assert [body for body in bodies if body.startswith(b"after")] == [b"after%d" % n for n in range(100)]
        assert_closed(journal.books())
        journal.adopt()  # the lock was closed too: what was left is anybody's, and ours
        again = [body.split()[0] for body in drain(journal, 7)]
        assert set(bodies + again) >= {b"before%d" % n for n in range(3, 100)}
        journal.close()
        assert_closed(journal.books())
        for n in range(30): assert Path(sys.argv[2] + str(n)).read_bytes() == b"z" * 100
        if sys.version_info >= (3, 13):  # before that, mmap closes the number of its own copy
            assert {os.fstat(fd).st_ino for fd in mine} == numbers
        """,
        journals,
        theirs,
        noise="was removed or cut short",
    )


def test_a_program_that_closes_all_descriptors_loses_nothing_and_is_not_told_so(journals: Path) -> None:
    run(
        """
        small()
        journal = a_journal()
        for n in range(100): put(journal, b"before%d " % n + b"x" * 1000)
        journal.acknowledge(journal.take(1 << 20, 3))
        os.closerange(3, 200)
        time.sleep(0.002)
        for n in range(100): put(journal, b"after%d " % n + b"x" * 1000)
        assert len(drain(journal, 7)) == 197
        books = journal.books()
        assert (books.delivered, books.pending, dict(books.dropped)) == (200, 0, {}), books
        journal.close()
        assert not list(journals.glob("*/*/*.seg"))
        """,
        journals,
        noise="was removed or cut short",
    )


def test_a_writer_whose_lock_was_closed_writes_no_more_into_its_folder(journals: Path) -> None:
    lines = run(
        """
        small()
        journal = a_journal()
        put(journal, b"before")
        os.closerange(3, 200)
        time.sleep(0.002)
        put(journal, b"after")
        say(len(list(journals.glob("*/*/lock"))))
        sys.stdout.flush()
        os._exit(0)
        """,
        journals,
        noise="was removed or cut short",
    )
    assert lines == ["2"]
    journal = a_journal(journals)
    journal.adopt()
    assert sorted(drain(journal)) == [b"after", b"before"]
    journal.close()


# No room, no permission


def in_memory_all_the_same(journals: Path, preparation: str, noise: str) -> None:
    run(
        f"""
        {preparation}
        journal = a_journal()
        for n in range(1000):
            assert put(journal, b"%d " % n + b"x" * 1000)
        assert journal.in_memory() == 1000
        assert_closed(journal.books())
        assert [int(body.split()[0]) for body in drain(journal)] == list(range(1000))
        assert_closed(journal.books())
        put(journal, b"left")
        journal.close()
        assert journal.books().pending == 1
        """,
        journals,
        noise=noise,
    )


def test_a_home_that_is_a_file_means_memory(journals: Path) -> None:
    journals.write_text("a file")
    in_memory_all_the_same(journals, "", "(File exists)" if sys.version_info < (3, 8) else "cannot keep the journal")


def test_a_slow_log_holds_up_nobody_else_while_a_journal_goes_into_memory(journals: Path) -> None:
    journals.write_text("a file")
    saying, go_on = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            saying.set()
            assert go_on.wait(20)

    handler, log = Slow(), logging.getLogger("honeytrace")
    journal = a_journal(journals)
    log.addHandler(handler)
    try:
        first = threading.Thread(target=lambda: journal.append(*an_event()))
        first.start()
        assert saying.wait(20)
        second = threading.Thread(target=lambda: journal.append(*an_event()), daemon=True)
        second.start()
        second.join(10)
        assert not second.is_alive()
    finally:
        go_on.set()
        log.removeHandler(handler)
    first.join()
    assert journal.books().recorded == 2


def test_a_limit_on_file_sizes_means_memory(journals: Path) -> None:
    in_memory_all_the_same(journals, "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))", "File too large")
    assert files(journals) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads and writes everything; only root can become somebody else")
def test_a_home_that_cannot_be_written_means_memory(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    in_memory_all_the_same(closed / "journal", "os.setuid(65534)", "cannot keep the journal")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount")
def test_a_full_disk_means_memory_and_files_again_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        run(
            """
            small()
            journal = a_journal()
            for n in range(1500):
                assert put(journal, b"%d " % n + b"x" * 1000)
            assert_closed(journal.books())
            assert journal.in_memory() > 0
            assert [int(body.split()[0]) for body in drain(journal)] == list(range(1500))
            time.sleep(0.2)  # a disk that was full is not asked again at once
            for n in range(100):
                assert put(journal, b"%d " % n + b"x" * 1000)
            assert len(list(journals.rglob("*.seg"))) > 0
            drain(journal)
            journal.close()
            assert_closed(journal.books())
            """,
            disk / "journal",
            noise="No space left on device",
        )
        assert files(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_all_processes_together_leave_no_more_than_four_times_the_bound(journals: Path) -> None:
    script = "small(); journal = a_journal(max_bytes=200_000)\nwhile put(journal, b'x' * 1000): pass\nos._exit(0)"
    noise = "refused"
    for _ in range(8):
        run(script, journals, noise=noise)
    assert sum(path.stat().st_size for path in files(journals)) <= 800_000


def test_a_clock_that_is_set_back_changes_nothing(journals: Path) -> None:
    journal = a_journal(journals)
    later = time.time_ns()
    for time_ns in (later, later - 3600 * 10**9, -1, 0):
        assert journal.append("event", b"0" * 36, b"{}", time_ns)
    assert [record.time_ns for record in journal.take(ROOMY, 10).records] == [later, later - 3600 * 10**9, -1, 0]
    journal.close()


# Fork


def test_a_child_has_a_folder_of_its_own_and_does_not_hold_its_parent_s_lock(journals: Path) -> None:
    with start(
        """
        small()
        journal = a_journal()
        os.register_at_fork(after_in_child=journal.reset_after_fork)
        for n in range(100): put(journal, b"parent%d " % n + b"x" * 1000)
        pid = os.fork()
        if pid == 0:
            assert journal.empty and journal.books().recorded == 0
            put(journal, b"child")
            say("child", os.getpid())
            os.read(0, 1)
            assert drain(journal) == [b"child"]
            os._exit(0)
        put(journal, b"parent-last")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        journals,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"child")
        process.wait(20)
        journal = a_journal(journals)
        journal.adopt()
        bodies = [body.split()[0] for body in drain(journal)]
        assert bodies == [*(b"parent%d" % n for n in range(100)), b"parent-last"]
        journal.close()
        assert len(files(journals)) == 1  # the child's
        process.communicate(b"x", timeout=20)


def test_forks_while_threads_append_and_rotate_lose_nothing_and_repeat_nothing(journals: Path) -> None:
    lines = run(
        """
        small()
        journal = a_journal()
        os.register_at_fork(after_in_child=journal.reset_after_fork)
        sys.setswitchinterval(1e-5)
        stop, counts = threading.Event(), [0] * 4
        def tracing(thread):
            while not stop.is_set() and counts[thread] < 3000:
                assert put(journal, b"p%d/%d " % (thread, counts[thread]) + b"x" * 600)
                counts[thread] += 1
        threads = [threading.Thread(target=tracing, args=(n,)) for n in range(4)]
        for thread in threads: thread.start()
        children = []
        for child in range(12):
            pid = os.fork()
            if pid == 0:
                for n in range(20): put(journal, b"c%d/%d " % (child, n) + b"x" * 600)
                assert journal.books().recorded == 20
                os._exit(0)
            children.append(pid)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        stop.set()
        for thread in threads: thread.join()
        say(*counts)
        os._exit(0)
        """,
        journals,
    )
    journal = a_journal(journals)
    found = []
    while True:
        journal.adopt()
        if journal.empty:
            break
        found += [body.split()[0].decode() for body in drain(journal)]
    expected = [f"p{thread}/{n}" for thread, count in enumerate(lines[0].split()) for n in range(int(count))]
    expected += [f"c{child}/{n}" for child in range(12) for n in range(20)]
    assert sorted(found) == sorted(expected)
    journal.close()
    assert files(journals) == []


def test_a_process_killed_at_any_moment_loses_no_record_whose_append_returned(journals: Path) -> None:
    script = """
        small()
        journal = a_journal()
        n = 0
        while True:
            put(journal, b"%d " % n + b"x" * 3000)
            os.write(1, b"%d\\n" % n)
            n += 1
            if n % 50 == 0: journal.acknowledge(journal.take(1 << 20, 1))
    """
    for moment in range(6):
        with start(script, journals) as process:
            assert process.stdout is not None
            for _ in range(1 + 37 * moment):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read().split()
        journal = a_journal(journals)
        journal.adopt()
        numbers = [int(body.split()[0]) for body in drain(journal)]
        last = int(said[-1]) if said else 37 * moment
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert numbers[-1] >= last
        assert numbers[0] <= (last + 2) // 50
        journal.close()
        assert files(journals) == []


# A disk that fails, and one that is slow


def test_a_file_that_cannot_be_read_when_it_is_taken_over_stays_for_another_time(journals: Path) -> None:
    run("journal = a_journal()\nfor n in range(100): put(journal, b'%d' % n)\nos._exit(0)", journals)
    journal = a_journal(journals)
    pread, failing = os.pread, [OSError(5, "Input/output error")]

    def unwilling(fd: int, size: int, offset: int) -> bytes:
        if failing and offset:
            raise failing.pop()
        return pread(fd, size, offset)

    os.pread = unwilling
    try:
        journal.adopt()
    finally:
        os.pread = pread
    assert (journal.empty, len(files(journals))) == (True, 1)
    journal.adopt()
    assert len(drain(journal)) == 100
    journal.close()


def test_a_flush_that_has_no_time_takes_nothing_over_and_says_so_if_it_was_cut_short(journals: Path) -> None:
    run("journal = a_journal()\nfor n in range(100): put(journal, b'%d' % n)\nos._exit(0)", journals)
    journal = a_journal(journals)
    assert not journal.adopt(time.monotonic() - 1)
    assert journal.empty
    assert journal.adopt()
    assert len(drain(journal)) == 100
    journal.close()
