"""Bytes and data URIs, as what one wants to know of them: {"mime", "bytes", "sha256"}.

The MIME type of bytes is read off their first few; "application/octet-stream" when those say nothing. Of more
than half a million bytes only the first are hashed: "sha256_of_first_500000"; when time is up, only small ones are.
"""

from __future__ import annotations

import re
from binascii import a2b_base64

from honeytrace._snapshot._shorten import HASHED, digest

__all__ = ["DATA_URI", "blob", "data_uri"]

DATA_URI = 256
"""A string longer than this that starts with "data:" is not recorded as text."""

_SMALL = 4_096
"""So many bytes are hashed in microseconds, whatever the time."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_HEADER = re.compile(r"data:([\w.+-]{1,64}/[\w.+-]{1,64})?((?:;[^;,\s]{1,64}){0,8}),")


def blob(head: bytes, size: int, mime: str | None = None, *, hashed: bool = True) -> dict[str, object]:
    """Describe `size` bytes of which the first half a million (or all, when fewer) are given."""
    described: dict[str, object] = {"mime": mime or _sniff(head), "bytes": size}
    if hashed or size == len(head) <= _SMALL:
        described["sha256" if size <= HASHED else f"sha256_of_first_{HASHED}"] = digest(head[:HASHED])
    return described


def data_uri(text: str, *, hashed: bool = True) -> dict[str, object] | None:
    """Describe the content of a data URI; None when the text is none."""
    header = _HEADER.match(text)
    if header is None:
        return None
    mime = header[1] or "text/plain"
    start = header.end()
    if header[2].lower().endswith(";base64"):
        padding = 2 if text.endswith("==") else 1 if text.endswith("=") else 0
        size = (len(text) - start) * 3 // 4 - padding
        if not hashed and size > _SMALL:
            return blob(b"", size, mime, hashed=False)
        encoded = text[start : start + HASHED * 4 // 3 + 4]
        try:
            head = a2b_base64(
                encoded[: len(encoded) // 4 * 4] if size > HASHED else encoded + "=" * (-len(encoded) % 4)
            )
        except ValueError:  # no base64 after all: at least equal ones can be seen to be equal
            head, size = encoded.encode("utf-8", "surrogatepass"), len(text) - start
        return blob(head, size if size > HASHED else len(head), mime)
    from urllib.parse import unquote_to_bytes

    data = unquote_to_bytes(text[start : start + HASHED])
    return blob(data, len(data) if start + HASHED >= len(text) else len(text) - start, mime, hashed=hashed)


def _sniff(data: bytes) -> str:
    for magic, mime in _MAGIC:
        if data.startswith(magic):
            return mime
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "application/octet-stream")
    if data[4:8] == b"ftyp":
        return "video/mp4"
    return "application/octet-stream"
