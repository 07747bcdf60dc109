"""One segment of a journal: records one behind the other, in a mapped file or in anonymous memory.

The file, all numbers little-endian:

    header, 64 bytes
        6 bytes     "htjrnl"
        1 byte      version of this format, and of that of the records: 1
        1 byte      zero
        8 bytes     the offset up to which everything has been delivered (at least 64)
        8 bytes     the same with all its bits turned over
        40 bytes    zero
    records (their form: _records), up to the end of the file or the first place that is all zeros to the end

Files are read with read(2), never through the mapping: a file that somebody cut short would end the process with
SIGBUS.
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from struct import Struct
from struct import error as StructError
from threading import RLock

from honeytrace._records import Parsed, count_others, parse

__all__ = [
    "HEADER",
    "Segment",
    "create",
    "identity",
    "in_memory",
    "open_existing",
    "peek",
    "take_stock",
]

HEADER = 64
_MAGIC, _VERSION = b"htjrnl", 1
_FILE_HEAD = Struct("<6sBxQQ")
_OFFSET = Struct("<QQ")
_OFFSET_AT = 8
_ALL_BITS = (1 << 64) - 1
_ZEROS = bytes(1 << 18)


class Segment:
    """Some records, those that are still to be delivered behind `acknowledged`.

    Offsets count from the start of the file; `base` is what to add for bytes ever appended. Everything up to `next` has
    been written; `append` of the journal adds there without a lock, as long as it stays below `limit`. All else belongs
    to who holds the journal's lock.
    """

    __slots__ = (
        "_cleared", "_fd_lock", "_identity", "acknowledged", "base", "fd", "limit", "map", "next", "others", "path",
        "records", "room", "settled", "settled_others", "size", "synced",
    )  # fmt: skip

    def __init__(self, size: int, map: mmap.mmap | None = None, *, path: Path | None = None, fd: int = -1) -> None:
        self.map = map
        self.size = size
        self.path = path
        self.fd = fd
        self._identity = identity(fd)
        # Against a thread that closes the descriptor between another's look at it and its use: by then the number may
        # be another file's. Reentrant for signal handlers.
        self._fd_lock = RLock()
        self.next = self.acknowledged = HEADER
        self.limit = self.room = self.base = 0
        self.records = self.others = 0
        self.settled = self.settled_others = 0
        """How many of the records, and of those that are no events, have left: delivered or set aside."""
        self.synced = self._cleared = HEADER

    @property
    def in_file(self) -> bool:
        """Whether the records outlive the process."""
        return self.path is not None

    def read(self, start: int, until: int | None = None) -> bytes:
        """Read between these offsets, or to the end of what was written: less if the file is not what it was.

        Raises:
            OSError: the disk does not give it back, this time.
        """
        until = self.next if until is None else until
        if self.path is None:
            return b"" if self.map is None else self.map[start:until]
        pieces = []
        with self._fd_lock:
            while self.sound() and start < until and (piece := os.pread(self.fd, until - start, start)):
                pieces.append(piece)
                start += len(piece)
        return b"".join(pieces)

    def sound(self) -> bool:
        """Whether the descriptor is the file's: a program may close descriptors that are not its own.

        Then the file is opened again, if it still has its name.
        """
        return self._identity is not None and (identity(self.fd) == self._identity or self._open_again())

    def _open_again(self) -> bool:
        if self.path is None:
            return False
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        if identity(fd) != self._identity:
            os.close(fd)
            return False
        self.fd = fd
        return True

    def intact(self) -> bool:
        """Whether the file still has its name and its length: else writing on would be in vain, or end the process."""
        if self.path is None:
            return True
        try:
            about = os.fstat(self.fd)
        except OSError:
            return False
        return (about.st_dev, about.st_ino) == self._identity and about.st_nlink > 0 and about.st_size >= self.size

    def remember(self) -> None:
        """Write the acknowledged offset into the file, so that nobody delivers again what has arrived."""
        with self._fd_lock:
            if self.path is not None and self.sound():
                self._write_offset(self.acknowledged)

    def _write_offset(self, reached: int) -> None:
        os.pwrite(self.fd, _OFFSET.pack(reached, reached ^ _ALL_BITS), _OFFSET_AT)

    def clear(self) -> bool:
        """Put zeros where everything has been delivered, so that it can be written again; False if that cannot be.

        The acknowledged offset is in the file before: who adopts the file at any moment finds what is behind it.
        """
        reached = self.acknowledged
        if self.path is None:
            return True
        with self._fd_lock:
            if not self.sound():
                return False
            for offset in range(self._cleared, reached, len(_ZEROS)):
                os.pwrite(self.fd, _ZEROS[: reached - offset], offset)
            self._cleared = reached
        return True

    def point_to_start(self) -> bool:
        """Write into the file that its first record is to be delivered next; False if that cannot be."""
        if self.path is None:
            return True
        with self._fd_lock:
            if not self.sound():
                return False
            self._write_offset(HEADER)
            self.synced = self._cleared = HEADER
        return True

    def sync(self) -> None:
        """Bring what was written to the disk, which only matters if the machine loses its power."""
        reached = self.next
        with self._fd_lock:
            if self.path is None or reached <= self.synced or not self.sound():
                return
            fd = os.dup(self.fd)  # it may take long, and nobody should wait for it
        try:
            getattr(os, "fdatasync", os.fsync)(fd)  # macOS has only the other
            self.synced = reached
        finally:
            os.close(fd)

    def unmap(self) -> None:
        """Give the memory back; the file stays. Nothing may be appended from here on."""
        if self.path is not None and self.map is not None:
            self.map.close()
            self.map = None

    def release(self, *, remove: bool) -> None:
        """Close everything; remove the file, or else cut off what was reserved and never written."""
        with self._fd_lock:
            self.sound()
            path, self.path = self.path, None
            self.limit = self.room = -1
            if self.map is not None:
                self.map.close()
                self.map = None
            fd, self.fd = self.fd, -1
        if path is None or identity(fd) != self._identity:
            return
        try:
            if not remove:
                os.ftruncate(fd, self.next)
            elif _identity_of(path) == self._identity:
                path.unlink()
        finally:
            os.close(fd)

    def forget(self) -> None:
        """In a forked child: close what is inherited; the file is the parent's."""
        self.path = None
        self.limit = self.room = -1
        fd, self.fd = self.fd, -1
        if self._identity is not None and identity(fd) == self._identity:
            os.close(fd)


def create(path: Path, size: int) -> Segment:
    """Make a file with all its blocks reserved and map it.

    Raises:
        OSError: there is no room, or it cannot be done here; nothing is left behind.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        # Zeros in the page cache halve what the first write to each page of the mapping costs (ext4).
        for offset in range(0, size, len(_ZEROS)):
            os.pwrite(fd, _ZEROS[: size - offset], offset)
        os.pwrite(fd, _FILE_HEAD.pack(_MAGIC, _VERSION, HEADER, HEADER ^ _ALL_BITS), 0)
        return Segment(size, _map(fd, size), path=path, fd=fd)
    except BaseException as error:
        os.close(fd)
        path.unlink(missing_ok=True)
        if isinstance(error, ValueError):  # mmap's, for a file that is shorter than it was a moment ago
            raise OSError(str(error)) from error
        raise


def _map(fd: int, size: int) -> mmap.mmap:
    # The mapping's own copy of the descriptor would be closed with it, even if the number is another file's by then.
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, size, trackfd=False)
    return mmap.mmap(fd, size)


def in_memory(size: int) -> Segment:
    """Make a segment that ends with the process."""
    private = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)  # its pages come cheaper
    return Segment(size, mmap.mmap(-1, size, flags=private) if private else mmap.mmap(-1, size))


def open_existing(path: Path) -> Segment | None:
    """Open another process's segment to deliver what is left in it; None if it is none, or of another version.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        head = os.pread(fd, HEADER, 0)
        size = os.fstat(fd).st_size
        segment = Segment(size, path=path, fd=fd)
        segment.next = max(size, HEADER)
        segment.acknowledged = _delivered_up_to(head, size)
        segment.limit = segment.room = -1
        if _may_read(head, segment):
            return segment
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _may_read(head: bytes, segment: Segment) -> bool:
    """Whether a file is of this version: by its header, or where that is lost by what stands in it."""
    ours = _MAGIC + bytes((_VERSION,))
    if ours.startswith(head[: len(ours)]):  # also if somebody cut it short in the middle of that
        return True
    if head.startswith(_MAGIC):
        return False
    # All zeros: its process ended before there was a header.
    return not head.strip(b"\0") or bool(parse(segment.read(HEADER), max_count=1).records)


def _delivered_up_to(head: bytes, size: int) -> int:
    """Read the acknowledged offset. A header that is lost costs repeats, no records."""
    try:
        offset, turned = _OFFSET.unpack_from(head, _OFFSET_AT)
    except StructError:
        return HEADER
    return offset if HEADER <= offset <= size and offset ^ _ALL_BITS == turned else HEADER


def take_stock(segment: Segment) -> None:
    """Count what another process left in a segment, and find its end.

    Raises:
        OSError: it cannot be read.
    """
    parsed = parse(segment.read(segment.acknowledged))
    segment.next = segment.acknowledged + parsed.end
    segment.records = len(parsed.records) + parsed.damaged  # a damaged place counts as one event
    segment.others = count_others(parsed.records)


def peek(path: Path) -> Parsed:
    """Read what is left in a file without touching it, whoever delivers it: for people who look.

    Raises:
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    return parse(data, _delivered_up_to(data[:HEADER], len(data)))


def identity(fd: int) -> tuple[int, int] | None:
    """Say which file this is; None if the descriptor is closed."""
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
