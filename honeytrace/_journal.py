"""The queue between recording and delivery: records in the order they came, on disk before a traced call returns.

Callers append in their own thread; one consumer at a time takes a batch, which stays, and acknowledges it, which lets
it go. What is here outlives the process wherever a file can be had: the next one, or a sibling, delivers it. The books
close at every moment: recorded = delivered + pending + dropped + set aside.

Appending takes no lock. CPython runs another thread, a signal handler or a finaliser only where there is a call or a
jump (from 3.11 on: a jump backwards), and before 3.12 finalisers also where memory is taken for what the garbage
collector looks after. Between reserving a place in the segment and filling it there is none of these. So a record is
there as a whole or not at all, unless the process dies in the middle of one; that one's call has not returned.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import TIMEOUT_MAX, RLock
from time import monotonic, time_ns
from typing import TYPE_CHECKING
from zlib import crc32

from honeytrace._books import Books, Tally, tally
from honeytrace._diagnostics import Throttle, guard, logger, warn_once
from honeytrace._event import Event, Kind
from honeytrace._records import CODES, EVENTS, LARGE, MARK, PRIME, count_others, large_head, pack_head, parse
from honeytrace._segment import HEADER, Segment, in_memory, take_stock

if TYPE_CHECKING:
    from honeytrace._folders import DestinationFolder, Writer

__all__ = ["Batch", "Journal", "Mark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records from the head of the journal, between two offsets of a segment; `events` says how many are events."""

    records: tuple[Event, ...]
    events: int
    segment: Segment
    base: int
    start: int
    end: int


Mark = Sequence[tuple[Segment, int]]
"""What is waiting at one moment: how far each segment must be acknowledged, its base included, until it has left."""


_FIRST_BYTES, _SEGMENT_BYTES = 1 << 20, 4 << 20
"""The size of a writer's first segment, and of those after it. A larger record gets one of its own size."""

_MEMORY_BYTES = 64 << 20
"""How much may wait in memory where a file was wanted and could not be had."""

_LEFT_BEHIND = 4
"""How many times its own bound a journal lets all processes together leave on disk for one destination."""

_REWIND = 32 << 10
"""From so many bytes on a segment of which all has left is written from its start again, not further on."""

_LOOK = 250_000
"""Nanoseconds between two looks at the file while records come: who cut it short would end the process with SIGBUS."""

_SPARE_SLICE = sys.version_info < (3, 12)
"""Whether making a slice may collect garbage, and so run finalisers, unless one has just been given back (25 ns)."""

_DAMAGED = "damaged"

_NO_FILE = 0.1
"""Seconds before a file is tried again where none could be had."""

_ADOPT = 16
"""After how many segments no more dead writers' folders are taken over at a time: each keeps a file open."""


class Journal:
    """Keep records until they are acknowledged; refuse the newest when `max_bytes` are held.

    `append`, `books` and `note_dropped` may be called from any thread, a signal handler or a finaliser. Everything
    else belongs to one consumer at a time: the flusher sees to that. Without a folder all is in memory.
    """

    def __init__(self, name: str, max_bytes: int, folder: DestinationFolder | None = None) -> None:
        self.name = name
        self.folder = folder
        self.closed = False
        self.released = 0
        """Bytes ever acknowledged, or given up; only grows."""
        self.wake: Callable[[], object] = _nobody
        """Belongs to the flusher, like the size that `wake_from` is told."""
        self._wake_at = sys.maxsize
        self._max_bytes = max_bytes
        self._throttle, self._damage = Throttle(60.0), Throttle(60.0)
        self._own: list[Segment]
        self._orphans: list[Segment]
        self._found: list[Segment]
        """Taken over, and not looked at yet."""
        self._segment: Segment
        self._writer: Writer | None
        self._held: list[tuple[Segment, int, bytes]]
        """What was read of two segments and may hold more records: offset, base included, and bytes.

        The consumer's alone. With the base, as a signal handler may drain on top of who reads, and what was read comes
        in here when the segment is written from its start again.
        """
        self._theirs_next: bool
        """Whether it is the turn of what the dead left."""
        self._begin(0)
        if sys.gettrace() is not None or not getattr(sys, "_is_gil_enabled", _yes)():
            self.append = self._append_locked  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"Journal({self.name!r}, max_bytes={self._max_bytes}, bytes={self.written - self.released})"

    def append(self, kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1) -> bool:
        """Add a record behind all others; say whether there was room. No lock, no system call.

        Wakes the flusher only where it asked for that: when it sleeps for lack of work, or a batch is full. After
        `close()` records are still taken while there is room: what runs late in a process counts too.
        """
        code = CODES[kind]
        if len(body) > LARGE:
            return self._append_large(code, id, body, time_ns, took_ns)
        rest = id + body
        check = crc32(rest, (time_ns + code + took_ns * 3) % PRIME)
        record = pack_head(MARK, code, 0, len(rest), check, time_ns, took_ns) + rest
        if not self._looked_at <= time_ns < self._look_at:
            self._look()
        size = len(record)
        if _SPARE_SLICE:
            record[:0]
        # From here to the assignment into the mapping: no call, and no jump that is taken (3.10).
        segment = self._segment
        start = segment.next
        end = start + size
        if end <= segment.limit:
            segment.next = end
            segment.map[start:end] = record  # type: ignore[index]  # limit is above 0 only where there is a mapping
            segment.records += 1
            if code > EVENTS:
                segment.others += 1
            return True
        return self._append_slowly(record, code)

    def _append_large(self, code: int, id: bytes, body: bytes, time_ns: int, took_ns: int) -> bool:
        """The same for a large body, which is not copied on the way."""
        head = large_head(code, id, body, time_ns, took_ns)
        if not self._looked_at <= time_ns < self._look_at:
            self._look()
        head_size, size = len(head), len(head) + len(body)
        if _SPARE_SLICE:
            head[:0]
        segment = self._segment
        start = segment.next
        end = start + size
        if end <= segment.limit:
            segment.next = end
            segment.map[start + head_size : end] = body  # type: ignore[index]  # as in append
            segment.map[start : start + head_size] = head  # type: ignore[index]
            segment.records += 1
            if code > EVENTS:
                segment.others += 1
            return True
        return self._append_slowly(head + body, code)

    def _append_locked(self, kind: Kind, id: bytes, body: bytes, time_ns: int, took_ns: int = -1) -> bool:
        with self._lock:
            return Journal.append(self, kind, id, body, time_ns, took_ns)

    @property
    def written(self) -> int:
        """Bytes ever appended; only grows. Compared by whoever waits for a full batch."""
        segment = self._segment
        return segment.base + segment.next

    @property
    def empty(self) -> bool:
        """Whether nothing waits for an acknowledgement."""
        return not self.mark()

    def wake_from(self, size: int) -> None:
        """Call `wake` with every record that makes `written` at least so large."""
        with self._lock:
            self._wake_at = size
            self._set_limits()

    def mark(self) -> Mark:
        """Say what is waiting now: for `passed`."""
        with self._lock:
            waiting = [(segment, segment.base + segment.next) for segment in (*self._own, *self._orphans)]
        return [(segment, end) for segment, end in waiting if segment.base + segment.acknowledged < end]

    def mark_adopted(self) -> Mark:
        """The same, but of what was taken over from dead processes alone."""
        with self._lock:
            waiting = [segment for segment in self._orphans if segment.acknowledged < segment.next]
            return [(segment, segment.base + segment.next) for segment in waiting]

    def passed(self, mark: Mark) -> bool:
        """Say whether all that was waiting then has left."""
        return all(segment.base + segment.acknowledged >= end for segment, end in mark)

    def take(self, max_bytes: int, max_count: int) -> Batch:
        """Read the oldest records, at least one if there is any, without removing them.

        Our own come first, and then take turns with what the dead left: who records without a pause would otherwise
        never get to that.

        Raises:
            OSError: a file cannot be read, this time.
        """
        while True:
            with self._lock:
                held = (*self._orphans, *self._own) if self._theirs_next else (*self._own, *self._orphans)
                segment = next((one for one in held if one.acknowledged < one.next), self._segment)
                # What comes later may be there in part, where appending takes the lock because it can be interrupted.
                base, start, until = segment.base, segment.acknowledged, segment.next
            if start >= until:
                return Batch(records=(), events=0, segment=segment, base=base, start=start, end=start)
            begin, data = self._data(segment, base, start, until)
            parsed = parse(data, start - begin, max_bytes=max_bytes, max_count=max(1, max_count))
            if parsed.records:
                records = tuple(parsed.records)
                events = len(records) - count_others(records)
                end = begin + parsed.end
                return Batch(records=records, events=events, segment=segment, base=base, start=start, end=end)
            nothing = Batch(records=(), events=0, segment=segment, base=base, start=start, end=until)
            self._settle(nothing, self._delivered)

    def _data(self, segment: Segment, base: int, start: int, until: int) -> tuple[int, bytes]:
        """Read a segment from `start` to `until`, unless it has been read before: offset and bytes."""
        for held, begin, data in self._held:
            if held is segment and begin <= base + start < begin + len(data):
                return begin - base, data
        data = segment.read(start, until)
        self._held = [(segment, base + start, data), *self._held[:1]]
        return start, data

    def acknowledge(self, batch: Batch, *, set_aside: bool = False) -> None:
        """Let go of all records up to the batch's end and enter them as delivered, or as set aside.

        A batch that does not start at the head (acknowledged before, or taken before a fork) is ignored.
        """
        self._settle(batch, self._set_aside if set_aside else self._delivered)

    def give_up(self, batch: Batch, reason: str) -> None:
        """Let go of a batch that can neither be delivered nor be set aside: it is dropped for this reason."""
        self._settle(batch, self._lost.setdefault(reason, [0, 0]))

    def adopt(self, deadline: float = math.inf) -> bool:
        """Take over what dead processes left for this destination; it is delivered after our own.

        Goes on until this `time.monotonic()`, and says whether there is nothing more to take over.
        """
        if self.folder is None:
            return True
        if not self._adopting.acquire(timeout=max(0.0, min(deadline - monotonic(), TIMEOUT_MAX))):
            return False
        try:
            with guard("taking over what another process left"):
                return self._adopt(self.folder, deadline)
            return True
        finally:
            self._adopting.release()

    def _adopt(self, folder: DestinationFolder, deadline: float) -> bool:
        if self._orphans or self.closed:
            return True
        if not self._found:
            opened = 0
            # Our own are locked, unless somebody removed the lock.
            for writer in folder.orphans({writer.path for writer in self._writers}):
                with self._lock:
                    self._writers.append(writer)  # before anything can go wrong, and for a child that is forked here
                segments = writer.open_all()
                self._found += segments
                if not segments:
                    self._close_writer(writer)
                opened += len(segments)
                if opened >= _ADOPT:
                    break
        while self._found and monotonic() < deadline:
            segment = self._found.pop(0)
            try:
                take_stock(segment)
            except OSError as error:
                warn_once(f"unread {segment.path}", "cannot read %s, left behind: %s", segment.path, error.strerror)
                self._leave(segment)
                continue
            with self._lock:
                self._orphans.append(segment)
                self._adopted += segment.records - segment.others
            self._let_go_if_done(segment)
        return not self._found

    def _leave(self, segment: Segment) -> None:
        """Give up a segment that is another's, with its file."""
        writer = next((one for one in self._writers if segment in one.segments), None)
        if writer is not None:
            writer.release(segment, remove=False)
            self._close_writer(writer, if_empty=True)

    def pass_turn(self) -> None:
        """What is at the head does not leave at the moment: let what the dead left, or our own, come before it."""
        self._theirs_next = not self._theirs_next

    def refused_for_good(self) -> int:
        """How many records have been set aside, or could not even be that."""
        return sum(self._set_aside) + sum(sum(lost) for reason, lost in self._lost.items() if reason != _DAMAGED)

    def note_dropped(self, reason: str, count: int = 1) -> None:
        """Enter events that a rule kept from being appended: recorded, and dropped for this reason."""
        with self._lock:
            dropped = self._dropped[0]
            dropped[reason] = dropped.get(reason, 0) + count

    def books(self) -> Books:
        """Count everything at one moment."""
        with self._lock:
            segments = (*self._own, *self._orphans)
            records = self._retired[0] + sum(segment.records for segment in segments)
            others = self._retired[1] + sum(segment.others for segment in segments)
            delivered, set_aside = tuple(self._delivered), tuple(self._set_aside)
            lost = [{reason: pair[sort] for reason, pair in self._lost.items()} for sort in (0, 1)]
            dropped = self._dropped[0].copy(), self._dropped[1].copy()
            adopted = self._adopted
        return Books(
            **tally(records - others, delivered[0], dropped[0], set_aside[0], lost[0]),
            others=Tally(**tally(others, delivered[1], dropped[1], set_aside[1], lost[1])),
            adopted=adopted,
        )

    def sync(self) -> None:
        """Bring what waits to the disk: it outlives the process anyway, and with this a loss of power."""
        with self._lock:
            segments = tuple(self._own)
        for segment in segments:
            with guard("writing a journal to the disk"):
                segment.sync()

    def left_behind(self) -> tuple[int, int]:
        """Say how many events, and other records, have come in and not left. Stays true after `close`."""
        books = self.books()
        return books.pending + self._parted[0], books.others.pending + self._parted[1]

    def in_memory(self) -> int:
        """Say how many of them end with the process."""
        with self._lock:
            segments = [segment for segment in self._own if not segment.in_file]
        return sum(segment.records - segment.settled for segment in segments)

    def tidy(self) -> None:
        """Remove the files if nothing waits in them. The next record makes new ones."""
        with self._lock:
            segment = self._segment
            segment.limit = segment.room = -1
            if self.mark() or not segment.in_file:
                self._set_limits()
                return
            self._segment = _sealed(self.written)
        self._let_go_if_done(segment)

    def close(self) -> None:
        """Say that no thread will come any more. What waits in files is left for others to deliver.

        Records are still taken, and wait for others too.
        """
        self.closed = True
        with self._adopting, self._lock:
            left = [segment for segment in (*self._own, *self._orphans) if segment.in_file]
            if self._segment in left:
                self._segment.limit = self._segment.room = -1
                self._segment = _sealed(self.written)
            writers = tuple(self._writers)
            self._writer = None  # what comes from here on goes into a folder of its own
        for segment in left:
            self._let_go_if_done(segment)
        with self._lock:
            # Not those that another thread has let go of meanwhile: they are in the books already.
            left = [segment for segment in left if segment in self._own or segment in self._orphans]
            self._own = [segment for segment in self._own if segment not in left]
            self._orphans, self._found = [], []
            for segment in left:
                self._retired[0] += segment.settled
                self._retired[1] += segment.settled_others
                others = segment.others - segment.settled_others
                self._parted[0] += segment.records - segment.settled - others
                self._parted[1] += others
        for writer in writers:
            self._close_writer(writer)

    def reset_after_fork(self) -> None:
        """In a child: forget what the parent recorded, which the parent delivers, and count from zero."""
        for writer in self._writers:
            writer.forget()
        self._begin(self.written)

    def _begin(self, written: int) -> None:
        self._lock = RLock()
        self._adopting = RLock()
        self._own = []
        self._orphans = []
        self._found = []
        self._writers: list[Writer] = []
        self._writer = None
        self._segment = _sealed(written)
        self._look_again(in_file=False)
        self._held = []
        self._theirs_next = False
        self.released = written
        # Pairs: events, session and update records.
        self._parted = [0, 0]  # left to others by close()
        self._retired: list[int] = [0, 0]  # first all records, then those that are no events
        self._adopted = 0
        self._said_damaged = 0
        self._file_after = 0.0
        self._no_file: str | None = None  # why the latest segment is in memory, until that has been said
        self._delivered = [0, 0]
        self._set_aside = [0, 0]
        self._lost: dict[str, list[int]] = {_DAMAGED: [0, 0]}
        self._dropped: tuple[dict[str, int], dict[str, int]] = ({}, {})

    # Making room

    def _append_slowly(self, record: bytes, code: int) -> bool:
        with self._lock:
            while not (put := self._put(record, code)):
                if self.written + len(record) - self.released > self._max_bytes or not self._rotate(len(record)):
                    dropped = self._dropped[code > EVENTS]
                    dropped["full"] = dropped.get("full", 0) + 1
                    break
        try:
            self._tell(put)
        except RecursionError:  # the record is in the books: whoever heard of an error would bring it once more
            pass
        return put

    def _tell(self, put: bool) -> None:
        """Wake the flusher where it asked for that; say where records are kept in memory, and that one is refused."""
        if put and self.written >= self._wake_at:
            self.wake()
        self._say_in_memory()
        if not put and (notice := self._notice()) is not None:
            with guard("reporting a refused record"):
                logger.warning(
                    "the journal of %s is full (%d bytes): %d records refused so far",
                    self.name,
                    self._max_bytes,
                    notice,
                )

    def _put(self, record: bytes, code: int) -> bool:
        """What `append` does, with nothing left for the flusher to be told."""
        size = len(record)
        if _SPARE_SLICE:
            record[:0]
        segment = self._segment
        start = segment.next
        end = start + size
        if end <= segment.room:
            segment.next = end
            segment.map[start:end] = record  # type: ignore[index]  # as in append
            segment.records += 1
            if code > EVENTS:
                segment.others += 1
            return True
        return False

    def _notice(self) -> int | None:
        """Give the number of all records that had no room if it is time to say so."""
        with self._lock:
            return sum(one.get("full", 0) for one in self._dropped) if self._throttle.due(monotonic()) else None

    def _rotate(self, needed: int) -> bool:
        """Begin another segment; False if none can be had."""
        made = self._new_segment(needed + HEADER)
        if made is None:
            return False
        # Not the one from before: a signal handler on top of this thread may have come here meanwhile.
        # Nor may it come before the new one is in its place, so nothing is called until then.
        added = [made]
        old = self._segment
        old.limit = old.room = -1
        made.base = old.base + old.next - HEADER
        self._own += added
        self._segment = made
        self._look_again(in_file=made.in_file)
        self._set_limits()
        old.unmap()
        self._let_go_if_done(old)
        return True

    def _new_segment(self, needed: int) -> Segment | None:
        size = max(needed, min(_SEGMENT_BYTES if self._own else _FIRST_BYTES, max(self._max_bytes, 1 << 16)))
        size = -(-size // 4096) * 4096
        if self.folder is None:
            return _in_memory(size)
        try:
            if monotonic() < self._file_after:
                raise OSError("not tried again yet")
            if self._writer is None or self._writer.gone():
                self._writer = self.folder.new_writer()
                self._writers.append(self._writer)
            most = _LEFT_BEHIND * self._max_bytes
            if self.folder.bytes_on_disk() + size > most and self.folder.bytes_left_behind() + size > most:
                raise OSError(f"dead processes left more than {most} bytes behind")
            return self._writer.add(size)
        except OSError as error:
            self._file_after = max(self._file_after, monotonic() + _NO_FILE)
            self._no_file = str(error.strerror or error)
        in_use = sum(segment.size for segment in self._own if not segment.in_file)
        return _in_memory(size) if in_use + size <= max(_MEMORY_BYTES, needed) else None

    def _say_in_memory(self) -> None:
        """Say why there is no file. Not where it is found out: nobody should wait for a log that is slow."""
        reason, self._no_file = self._no_file, None
        if reason is not None and self.folder is not None:
            with guard("reporting a journal in memory"):
                warn_once(
                    f"memory {self.folder.path}",
                    "cannot keep the journal of %s in %s (%s): what is not delivered when the process ends is lost",
                    self.name,
                    self.folder.path,
                    reason,
                )

    def _set_limits(self) -> None:
        """Tell `append` how far it may go on its own."""
        segment = self._segment
        if segment.map is not None:
            segment.room = min(segment.size, self.released + self._max_bytes - segment.base)
            segment.limit = min(segment.room, self._wake_at - segment.base - 1)

    def _look_again(self, *, in_file: bool) -> None:
        """Say when: by the wall clock, which the records bring along. One that began before counts as later."""
        now = time_ns()
        self._looked_at: float = now - _LOOK if in_file else -math.inf
        self._look_at: float = now + _LOOK if in_file else math.inf

    def _look(self) -> None:
        """Begin another segment if somebody removed the file of this one, or cut it short."""
        self._look_again(in_file=True)
        segment = self._segment
        if segment.intact():
            return
        with self._lock:
            if segment is not self._segment:
                return  # another thread has made room meanwhile, or seen the same
            segment.limit = segment.room = -1
            if not self._rotate(0):
                self._segment = _sealed(self.written)
        self._say_in_memory()
        with guard("reporting a changed journal"):
            warn_once(f"changed {self.name}", "a file of the journal of %s was removed or cut short", self.name)

    # Letting go

    def _settle(self, batch: Batch, ledger: list[int]) -> None:
        segment = batch.segment
        others = len(batch.records) - batch.events
        # Reentrant, because a signal handler may ask for the books; and nothing is called between the first
        # change and the last, so that no interrupt comes in between.
        with self._lock:
            own = segment in self._own
            if (not own and segment not in self._orphans) or segment.acknowledged != batch.start:
                return
            if segment.base != batch.base:
                return
            if own:
                self.released += batch.end - batch.start
            segment.acknowledged = batch.end
            segment.settled += batch.events + others
            segment.settled_others += others
            ledger[0] += batch.events
            ledger[1] += others
            self._theirs_next = own
            self._set_limits()
        self._report_damage()
        self._held = [one for one in self._held if one[0].base + one[0].acknowledged < one[1] + len(one[2])]
        if not self._let_go_if_done(segment):
            with guard("noting in the journal what has arrived"):
                segment.remember()
                if own and segment.acknowledged >= _REWIND:
                    self._rewind(segment)
        elif not own and not self._orphans:
            self.adopt()

    def _rewind(self, segment: Segment) -> None:
        """Write from the start again if all has left: that memory is warm, and the disk has it to write once."""
        if segment is not self._segment or segment.acknowledged < segment.next or not segment.clear():
            return
        with self._lock:
            # From here on nobody appends without the lock; a signal handler on top of this thread begins another
            # segment.
            segment.limit = segment.room = -1
            used = segment.acknowledged
            done = segment.next == used and segment.point_to_start()
            if segment is self._segment and done and segment.next == used:
                segment.base += used - HEADER
                segment.next = segment.acknowledged = HEADER
            self._set_limits()

    def _let_go_if_done(self, segment: Segment) -> bool:
        """Close the books of a segment from which all has left; remove its file if nothing is appended any more."""
        with self._lock:
            own = segment in self._own
            if segment.acknowledged < segment.next or (not own and segment not in self._orphans):
                return False
            missing = segment.records - segment.settled
            missing_others = segment.others - segment.settled_others
            segment.settled, segment.settled_others = segment.records, segment.others
            damaged = self._lost[_DAMAGED]
            damaged[0] += missing - missing_others
            damaged[1] += missing_others
            if segment is self._segment:
                return False
            # From here on nobody appends, not even a thread that saw it as the current one.
            segment.limit = segment.room = -1
            if segment.acknowledged < segment.next:
                return False
            held = self._own if own else self._orphans
            place = held.index(segment)
            # From here on nothing is called: an interrupt in between would leave the books open.
            del held[place]
            self._retired[0] += segment.records
            self._retired[1] += segment.others
            writer = next((one for one in self._writers if segment in one.segments), None)
        self._report_damage()
        with guard("removing a delivered journal"):
            if writer is None:
                segment.release(remove=True)
            else:
                writer.release(segment, remove=True)
                self._close_writer(writer, if_empty=True)
        return True

    def _report_damage(self) -> None:
        """Say how much was lost, at once and then at most once a minute."""
        lost = sum(self._lost[_DAMAGED])
        if lost > self._said_damaged and self._damage.due(monotonic()):
            self._said_damaged = lost
            with guard("reporting a damaged journal"):
                logger.warning("the journal of %s is damaged: %d records lost so far", self.name, lost)

    def _close_writer(self, writer: Writer, *, if_empty: bool = False) -> None:
        with self._lock:
            # Another thread may be closing it, or may have begun a segment in it.
            if writer not in self._writers or (if_empty and writer.segments):
                return
            self._writers.remove(writer)
            if writer is self._writer:
                self._writer = None
        with guard("closing a journal's folder"):
            writer.close()


def _sealed(written: int) -> Segment:
    """Make the segment that stands for none: the first record finds no room in it."""
    segment = Segment(0)
    segment.limit = segment.room = -1
    segment.base = written - segment.next
    return segment


def _in_memory(size: int) -> Segment | None:
    try:
        return in_memory(size)
    except (OSError, MemoryError):
        return None


def _yes() -> bool:
    """Stand in for what Python before 3.13 cannot be asked."""
    return True


def _nobody() -> None:
    """Stand in for the flusher of a journal that has none."""
