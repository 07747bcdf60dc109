"""A segment's file gives back every record that nobody damaged, whatever happened to the bytes around it."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from honeytrace._event import KINDS, SEPARATOR, Event, packed_frame
from honeytrace._records import LARGE, MARK, frame, head_size, parse
from honeytrace._segment import HEADER, create, in_memory, open_existing, peek, take_stock

QUICK = settings(max_examples=150, deadline=None)


def encoded(record: Event) -> bytes:
    return frame(*record)


@st.composite
def some_records(draw: st.DrawFn, most: int = 6) -> list[Event]:
    """Records with ids of their own and bodies as recording makes them: text without the mark."""
    bodies = draw(st.lists(st.text(max_size=60).map(str.encode), min_size=1, max_size=most))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=len(bodies), max_size=len(bodies)))
    times = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(bodies), max_size=len(bodies)))
    return [
        Event(kind, b"%036d" % number, body, time)
        for number, (kind, body, time) in enumerate(zip(kinds, bodies, times, strict=True))
    ]


def a_file(path: Path, records: list[Event], *, size: int = 1 << 16) -> Path:
    """A segment as a process leaves it that is killed: reserved, partly written, nothing acknowledged."""
    segment = create(path, size)
    assert segment.map is not None
    data = b"".join(map(encoded, records))
    segment.map[HEADER : HEADER + len(data)] = data
    segment.next += len(data)
    segment.forget()
    return path


def recovered(path: Path) -> tuple[list[Event], int]:
    """What the next process finds in a file, and how many records it enters in its books."""
    segment = open_existing(path)
    assert segment is not None
    try:
        take_stock(segment)
        return parse(segment.read(segment.acknowledged)).records, segment.records
    finally:
        segment.forget()


@given(some_records())
@QUICK
def test_what_is_framed_is_parsed(records: list[Event]) -> None:
    data = b"".join(map(encoded, records))
    parsed = parse(data + bytes(500))
    assert (parsed.records, parsed.end, parsed.damaged) == (records, len(data), 0)


def test_the_format_is_the_one_the_docstring_gives(tmp_path: Path) -> None:
    record = Event("event", b"0" * 36, b"{}", 5)
    data = a_file(tmp_path / "1.seg", [record], size=4096).read_bytes()
    assert data[:8] == b"htjrnl\x01\x00"
    assert data[8:24] == (64).to_bytes(8, "little") + ((1 << 64) - 1 - 64).to_bytes(8, "little")
    assert data[24:64] == bytes(40)
    assert data[64:72] == b"\xf5HT\xf6\x01\x00\x00\x00"
    assert data[72:76] == (38).to_bytes(4, "little")
    assert data[80:88] == (5).to_bytes(8, "little")
    assert data[88:96] == (-1).to_bytes(8, "little", signed=True)
    assert data[96:134] == b"0" * 36 + b"{}"
    assert data[134:] == bytes(4096 - 134)
    with pytest.raises(UnicodeDecodeError):
        MARK.decode()


@given(some_records(), st.data())
@QUICK
def test_any_prefix_gives_the_whole_records_in_it(records: list[Event], data: st.DataObject) -> None:
    whole = b"".join(map(encoded, records))
    cut = data.draw(st.integers(0, len(whole)))
    expected, end = [], 0
    for record in records:
        if end + len(encoded(record)) > cut:
            break
        expected.append(record)
        end += len(encoded(record))
    parsed = parse(whole[:cut])
    assert parsed.records == expected
    assert parsed.damaged == (cut > end)
    torn = parse(whole[:cut] + bytes(300))  # the rest of a file that was reserved
    assert torn.records == expected


@given(some_records(), st.data())
@QUICK
def test_overwritten_bytes_cost_the_records_they_touch_and_no_other(records: list[Event], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(encoded, records)))
    start = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.one_of(st.binary(min_size=1, max_size=200), st.integers(1, 200).map(bytes)))
    whole[start : start + len(junk)] = junk[: len(whole) - start]
    untouched, position = [], 0
    for record in records:
        end = position + len(encoded(record))
        if end <= start or position >= start + len(junk):
            untouched.append(record)
        position = end
    found = parse(bytes(whole) + bytes(100)).records
    assert [record for record in found if record in untouched] == untouched
    assert {record.id for record in found} <= {record.id for record in records}
    # What is found beyond those was overwritten with what had been there, or in its time or padding.
    assert all(record._replace(time_ns=0) in [one._replace(time_ns=0) for one in records] for record in found)


@given(some_records(most=4), st.data())
@QUICK
def test_bytes_cut_out_or_put_in_cost_the_records_they_touch(records: list[Event], data: st.DataObject) -> None:
    whole = b"".join(map(encoded, records))
    start = data.draw(st.integers(0, len(whole)))
    gone = data.draw(st.integers(0, 80))
    junk = data.draw(st.binary(max_size=80))
    untouched, position = [], 0
    for record in records:
        end = position + len(encoded(record))
        if end <= start or position >= start + gone:
            untouched.append(record)
        position = end
    found = parse(whole[:start] + junk + whole[start + gone :]).records
    assert [record for record in found if record in untouched] == untouched


def test_a_flipped_bit_anywhere_costs_one_record_and_is_counted() -> None:
    records = [Event("event", b"%036d" % number, b'{"n":1}', 7) for number in range(3)]
    whole = b"".join(map(encoded, records))
    size = len(whole) // 3
    unchecked = {6, 7}  # padding
    for bit in range(size * 8):
        damaged = bytearray(whole)
        damaged[size + bit // 8] ^= 1 << bit % 8
        parsed = parse(bytes(damaged))
        if bit // 8 in unchecked:
            assert [record.body for record in parsed.records] == [record.body for record in records]
        else:
            assert parsed.records == [records[0], records[2]], bit
            assert parsed.damaged == 1


def test_a_packed_body_is_read_as_the_event_that_it_stands_for() -> None:
    start, took = 1_763_940_000_123_123_456, 2_000_999
    opening = b'{"event_type":"tool"'
    parts = [b"s" * 36, b"p" * 36, packed_frame(opening, b',"metadata":{}}', is_object=False), b'{"a":1}']
    whole = frame("last", b"i" * 36, SEPARATOR.join([*parts, b'"2%"']), start, took)
    (record,) = parse(whole + bytes(100)).records
    assert (record.kind, record.id, record.time_ns) == ("last", b"i" * 36, start)
    assert record.fields() == {
        "event_type": "tool",
        "event_id": "i" * 36,
        "session_id": "s" * 36,
        "parent_id": "p" * 36,
        "start_time": 1763940000123.123,
        "end_time": 1763940000125.124,
        "duration": 2.001,
        "inputs": {"a": 1},
        "outputs": {"result": "2%"},
        "metadata": {},
    }
    parts[2] = packed_frame(opening, b"}", is_object=True)
    (record,) = parse(frame("event", b"i" * 36, SEPARATOR.join([*parts, b'{"b":2}']), start, took)).records
    assert record.fields()["outputs"] == {"b": 2}
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert bit // 8 in (6, 7) or not parse(bytes(damaged)).records, bit


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 5 * LARGE])
def test_large_bodies_are_framed_and_parsed_like_small_ones(size: int) -> None:
    records = [Event("event", b"%036d" % number, body, 7) for number, body in enumerate([b"{}", b"x" * size, b"[]"])]
    data = b"".join(map(encoded, records))
    parsed = parse(data + bytes(500))
    assert (parsed.records, parsed.end, parsed.damaged) == (records, len(data), 0)
    torn = parse(data[: len(encoded(records[0])) + size // 2] + bytes(size) + encoded(records[2]))
    assert (torn.records, torn.damaged) == ([records[0], records[2]], 1)


@given(st.integers(LARGE + 1, 3 * LARGE), st.data())
@QUICK
def test_damage_to_a_large_body_that_is_no_longer_text_or_longer_than_a_word_is_noticed(
    size: int, data: st.DataObject
) -> None:
    body = ("ümläut " * (size // 9 + 1)).encode()
    records = [Event("event", b"%036d" % number, body, 7) for number in range(3)]
    whole = b"".join(map(encoded, records))
    start = len(whole) // 3 + head_size + 36 + data.draw(st.integers(0, len(body) - 100))
    damage = data.draw(
        st.one_of(
            st.sampled_from([b"\0", b"\xff"]),
            st.integers(61, 100).map(lambda count: bytes(byte ^ 1 for byte in whole[start : start + count])),
        )
    )
    parsed = parse(whole[:start] + damage + whole[start + len(damage) :])
    assert (parsed.records, parsed.damaged) == ([records[0], records[2]], 1)


def test_zeros_in_the_middle_are_not_taken_for_the_end() -> None:
    first, second = (Event("event", b"%036d" % number, b"{}", 1) for number in range(2))
    parsed = parse(encoded(first) + bytes(5000) + encoded(second) + bytes(100))
    assert parsed.records == [first, second]
    assert parsed.damaged == 1


def test_a_body_that_contains_the_mark_and_whole_records_is_one_record() -> None:
    inner = encoded(Event("event", b"i" * 36, b"inner", 1))
    outer = Event("event", b"o" * 36, MARK + inner * 2 + MARK, 1)
    assert parse(encoded(outer) * 2).records == [outer, outer]


def test_many_marks_in_a_row_do_not_take_long() -> None:
    # Each could be the head of a record that claims all that follows it.
    head = MARK + b"\x01\x00\x00\x00" + (40).to_bytes(4, "little") + bytes(12)
    parsed = parse(head * 20_000)
    assert (parsed.records, parsed.damaged) == ([], 1)


def test_a_batch_is_at_least_one_record_and_ends_where_its_last_one_does() -> None:
    records = [Event("event", b"%036d" % number, b"x" * 100, 1) for number in range(5)]
    data = b"".join(map(encoded, records))
    size = head_size + 136
    assert (parse(data, max_bytes=1).records, parse(data, max_bytes=1).end) == (records[:1], size)
    assert (parse(data, max_bytes=250).records, parse(data, max_bytes=250).end) == (records[:2], 2 * size)
    assert (parse(data, size, max_count=2).records, parse(data, size, max_count=2).end) == (records[1:3], 3 * size)


@given(some_records(), st.integers(0, HEADER - 1), st.binary(min_size=1, max_size=HEADER))
@example([Event("event", b"0" * 36, b"{}", 1)], 0, b"\xff" * HEADER)
@example([Event("event", b"0" * 36, b"{}", 1)], 0, bytes(HEADER))
@QUICK
def test_a_destroyed_header_costs_no_record(
    tmp_path_factory: pytest.TempPathFactory, records: list[Event], start: int, junk: bytes
) -> None:
    path = a_file(tmp_path_factory.mktemp("s") / "1.seg", records, size=4096 * 4)
    data = bytearray(path.read_bytes())
    data[start : min(HEADER, start + len(junk))] = junk[: HEADER - start]
    if data[:6] == b"htjrnl" and data[6] != 1:
        data[6] = 1
    path.write_bytes(data)
    assert recovered(path) == (records, len(records))
    assert peek(path).records == records


@pytest.mark.parametrize("bit", range(64))
def test_a_flipped_bit_in_the_offset_costs_repeats_and_no_record(tmp_path: Path, bit: int) -> None:
    records = [Event("event", b"%036d" % number, b"x" * 50, 1) for number in range(100)]
    path = a_file(tmp_path / "1.seg", records, size=1 << 15)
    segment = open_existing(path)
    assert segment is not None
    segment.acknowledged = HEADER + 10 * len(encoded(records[0]))
    segment.remember()
    segment.forget()
    assert recovered(path) == (records[10:], 90)
    data = bytearray(path.read_bytes())
    data[8 + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert recovered(path)[0][-90:] == records[10:]
    assert peek(path).records[-90:] == records[10:]


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = a_file(tmp_path / "1.seg", [Event("event", b"0" * 36, b"{}", 1)])
    data = bytearray(path.read_bytes())
    data[6] = 2
    path.write_bytes(data)
    assert open_existing(path) is None
    assert path.read_bytes() == data


@pytest.mark.parametrize("content", [b"something else altogether", os.urandom(5000), b"\x01" * 200])
def test_a_file_that_is_no_segment_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1.seg"
    path.write_bytes(content)
    assert open_existing(path) is None
    assert path.read_bytes() == content


@pytest.mark.parametrize("size", [0, 1, 8, 63, 64, 4096])
def test_a_file_that_was_just_made_holds_nothing(tmp_path: Path, size: int) -> None:
    path = a_file(tmp_path / "1.seg", [], size=4096)
    os.truncate(path, size)
    assert recovered(path) == ([], 0)
    path.write_bytes(bytes(size))
    assert recovered(path) == ([], 0)


def test_a_damaged_place_is_entered_in_the_books_and_a_torn_tail_too(tmp_path: Path) -> None:
    records = [Event("event", b"%036d" % number, b"{}", 1) for number in range(5)]
    path = a_file(tmp_path / "1.seg", records)
    data = bytearray(path.read_bytes())
    size = len(encoded(records[0]))
    data[HEADER + size + 40] ^= 1
    data[HEADER + 4 * size + 30 : HEADER + 5 * size] = bytes(size - 30)
    path.write_bytes(data)
    assert recovered(path) == ([records[0], records[2], records[3]], 5)


def test_descriptors_do_not_leak_from_what_cannot_be_read(tmp_path: Path) -> None:
    other = tmp_path / "other.seg"
    other.write_bytes(b"something else")
    pipe = tmp_path / "pipe.seg"
    os.mkfifo(pipe)
    before = set(os.listdir("/dev/fd"))
    for _ in range(5):
        assert open_existing(other) is None
        with pytest.raises(OSError):
            open_existing(pipe)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_segment_s_file_is_private_and_has_its_blocks_reserved(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        segment = create(tmp_path / "1.seg", 1 << 20)
    finally:
        os.umask(before)
    about = (tmp_path / "1.seg").stat()
    assert stat.S_IMODE(about.st_mode) == 0o600
    assert about.st_blocks * 512 >= 1 << 20
    assert not os.get_inheritable(segment.fd)
    segment.release(remove=True)
    assert not (tmp_path / "1.seg").exists()


def test_a_file_that_stays_is_cut_to_what_was_written(tmp_path: Path) -> None:
    segment = create(tmp_path / "1.seg", 1 << 20)
    assert segment.map is not None
    record = encoded(Event("event", b"0" * 36, b"{}", 1))
    segment.map[HEADER : HEADER + len(record)] = record
    segment.next += len(record)
    segment.release(remove=False)
    assert (tmp_path / "1.seg").stat().st_size == HEADER + len(record)
    assert recovered(tmp_path / "1.seg")[1] == 1


def test_what_is_removed_is_not_a_file_that_took_the_name(tmp_path: Path) -> None:
    segment = create(tmp_path / "1.seg", 4096)
    (tmp_path / "1.seg").unlink()
    (tmp_path / "1.seg").write_text("somebody else's")
    segment.release(remove=True)
    assert (tmp_path / "1.seg").read_text() == "somebody else's"


def test_a_segment_in_memory_reads_like_one_in_a_file() -> None:
    segment = in_memory(4096)
    assert isinstance(segment.map, mmap.mmap)
    record = Event("event", b"0" * 36, b"{}", 1)
    segment.map[HEADER : HEADER + len(encoded(record))] = encoded(record)
    segment.next += len(encoded(record))
    assert parse(segment.read(HEADER)).records == [record]
    assert not segment.in_file
    segment.release(remove=True)
