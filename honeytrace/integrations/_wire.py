"""Answers as they travel: JSON bodies, streams of events, and the encodings HTTP puts around them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from importlib import import_module

import orjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Events", "Frames", "decoder", "events_of", "mime_of", "read_body"]


class Events:
    """Cuts a stream of server-sent events into the data of each."""

    __slots__ = ("pending", "rest")

    def __init__(self) -> None:
        self.rest = b""
        """The beginning of a line."""
        self.pending: list[bytes] = []
        """The data of an event that is not complete."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, give the data of every event that is complete."""
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if line.startswith(b"data:"):
                self.pending.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self.pending:
                event, self.pending = b"\n".join(self.pending), []
                yield event


class Frames:
    """Cuts an event stream of AWS into the data of each chunk. A frame: lengths, checksum, headers, data, checksum."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes, give the data of every chunk that is complete."""
        data, start = self._rest + data, 0
        while len(data) - start >= 12:
            whole, headers = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (0, 4))
            if whole < headers + 16:
                raise ValueError("no event stream")
            if len(data) - start < whole:
                break
            chunk = orjson.loads(data[start + 12 + headers : start + whole - 4] or b"{}")
            start += whole
            if chunk.get("bytes"):
                yield b64decode(chunk["bytes"])
        self._rest = data[start:]


def events_of(mime: str | None) -> Events | Frames | None:
    """Give what cuts a stream of this media type; None if it is no stream of events."""
    if mime == "text/event-stream":
        return Events()
    return Frames() if mime == "application/vnd.amazon.eventstream" else None


def mime_of(content_type: str) -> str:
    """The media type of a Content-Type header, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_body(body: bytes, mime: str) -> Any:
    """Read a whole body: JSON as what it says, anything else as {"mime", "body"}."""
    if mime == "application/json" or mime.endswith("+json"):
        return orjson.loads(body)
    return {"mime": mime, "body": body.decode("utf-8", "replace") if mime.startswith("text/") else body}


def decoder(encoding: str) -> Callable[[bytes], bytes]:
    """Give what undoes a Content-Encoding piece by piece."""
    name = encoding.strip().lower()
    if name in ("gzip", "deflate", "x-gzip"):
        import zlib

        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    # Clients ask for these two only where they have a package for it.
    if name == "br":
        try:
            brotli: Any = import_module("brotli")
        except ImportError:
            brotli = import_module("brotlicffi")
        decompressor = brotli.Decompressor()
        return getattr(decompressor, "process", None) or decompressor.decompress  # type: ignore[no-any-return]
    if name == "zstd":
        zstandard: Any = import_module("zstandard")
        return zstandard.ZstdDecompressor().decompressobj().decompress  # type: ignore[no-any-return]
    if name in ("", "identity"):
        return lambda data: data
    raise ValueError(f"unknown content encoding {name!r}")
