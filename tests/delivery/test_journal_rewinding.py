"""A segment from which all has left is written from its start again: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_fakes import an_event, assert_closed
from test_journal_files import a_journal, files, run

from honeytrace import _journal
from honeytrace._folders import DestinationFolder
from honeytrace._journal import Journal
from honeytrace._segment import Segment

ROOMY = 1 << 30


@pytest.fixture(params=["files", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    folder = DestinationFolder.of(tmp_path / "journal", "j", "there") if request.param == "files" else None
    journal = Journal("j", ROOMY, folder)
    yield journal
    journal.close()


def fill(journal: Journal, first: int, count: int) -> list[bytes]:
    bodies = [b"%d " % number + b"x" * 1000 for number in range(first, first + count)]
    assert all(journal.append(*an_event(body=body)) for body in bodies)
    return bodies


def drain(journal: Journal, most: int = 1000) -> list[bytes]:
    bodies = []
    while (batch := journal.take(ROOMY, most)).records:
        bodies += [record.body for record in batch.records]
        journal.acknowledge(batch)
    return bodies


def test_a_program_that_records_little_at_a_time_writes_the_same_memory_again(journal: Journal) -> None:
    for start in range(0, 5000, 50):
        sent = fill(journal, start, 50)
        assert drain(journal, 20) == sent
        assert_closed(journal.books())
    assert (journal.books().delivered, journal.books().pending) == (5000, 0)
    (segment,) = journal._own
    assert segment.size == _journal._FIRST_BYTES
    assert segment.next < 100_000 < 5_000_000 < journal.written


def test_what_comes_while_the_last_batch_is_out_stays_where_it_is(journal: Journal) -> None:
    fill(journal, 0, 50)
    batch = journal.take(ROOMY, 50)
    sent = fill(journal, 50, 1)
    journal.acknowledge(batch)
    assert drain(journal) == sent


def test_a_batch_from_before_settles_nothing_that_came_after(journal: Journal) -> None:
    fill(journal, 0, 50)
    batch = journal.take(ROOMY, 50)
    journal.acknowledge(batch)
    sent = fill(journal, 50, 50)
    journal.acknowledge(batch)
    journal.acknowledge(batch, set_aside=True)
    assert (journal.books().pending, journal.books().set_aside) == (50, 0)
    assert drain(journal) == sent


def test_who_waits_for_what_has_left_goes_on_and_who_waits_for_what_came_after_waits(journal: Journal) -> None:
    fill(journal, 0, 50)
    before = journal.mark()
    drain(journal)
    assert journal.passed(before)
    fill(journal, 50, 1)
    after = journal.mark()
    assert journal.passed(before)
    assert not journal.passed(after)
    drain(journal)
    assert journal.passed(after)


def test_a_signal_handler_that_drains_while_a_batch_is_read_leaves_nothing_old_to_be_read_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_be_interrupted(segment: Segment, *between: int) -> bytes:
        data = plain(segment, *between)
        monkeypatch.setattr(Segment, "read", plain)
        signal.raise_signal(signal.SIGUSR1)
        return data

    def take(count: int) -> list[bytes]:
        batch = journal.take(ROOMY, count)
        journal.acknowledge(batch)
        return [record.body for record in batch.records]

    plain, drained = Segment.read, []
    previous = signal.signal(signal.SIGUSR1, lambda *_: drained.extend(drain(journal)))
    first = fill(journal, 0, 40)
    assert take(20) == first[:20]
    second = fill(journal, 40, 20)
    assert take(20) == first[20:]
    monkeypatch.setattr(Segment, "read", read_and_be_interrupted)
    take(1000)
    signal.signal(signal.SIGUSR1, previous)
    assert drained == second
    third = fill(journal, 100, 40)
    assert take(30) == third[:30]
    third += fill(journal, 140, 20)
    assert drain(journal, 10) == third[30:]
    assert_closed(journal.books())
    assert "damaged" not in journal.books().dropped


def test_the_bound_holds_over_many_rounds(tmp_path: Path) -> None:
    journal = Journal("j", 100_000, DestinationFolder.of(tmp_path / "journal", "j", "there"))
    for _ in range(20):
        taken = 0
        while journal.append(*an_event(body=b"x" * 1000)):
            taken += 1
        assert 90 < taken < 100
        assert len(drain(journal)) == taken
    journal.close()


def test_whoever_takes_over_finds_what_was_written_again_and_nothing_from_before(tmp_path: Path) -> None:
    journals = tmp_path / "journal"
    run(
        """
        journal = a_journal()
        for n in range(100): put(journal, b"old %d " % n + b"x" * 1000)
        drain(journal)
        for n in range(3): put(journal, b"new %d" % n)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        journals,
        ending=-signal.SIGKILL,
    )
    (path,) = files(journals)
    assert b"old " not in path.read_bytes()
    journal = a_journal(journals)
    journal.adopt()
    assert drain(journal) == [b"new 0", b"new 1", b"new 2"]
    assert "damaged" not in journal.books().dropped
    assert journal.books().delivered == 3
    journal.close()


@pytest.mark.parametrize("moment", ["clear", "point_to_start"])
def test_who_dies_while_beginning_again_leaves_nothing_that_is_damaged_or_comes_twice(
    tmp_path: Path, moment: str
) -> None:
    journals = tmp_path / "journal"
    run(
        f"""
        from honeytrace._segment import Segment
        plain = Segment.{moment}
        def last(segment):
            plain(segment)
            os.kill(os.getpid(), signal.SIGKILL)
        Segment.{moment} = last
        journal = a_journal()
        for n in range(100): put(journal, b"old %d " % n + b"x" * 1000)
        drain(journal)
        """,
        journals,
        ending=-signal.SIGKILL,
    )
    journal = a_journal(journals)
    journal.adopt()
    assert drain(journal) == []
    assert sum(journal.books().dropped.values()) == 0
    journal.close()
