"""Count what arrived at the sink, when the contender has ended: `python arrivals.py SPOOL` prints it as JSON.

Run by the contender's own interpreter, which has what it takes to undo its compression.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workload import RECEIPT


def requests(spool: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The head and the body of every request, one at a time."""
    with spool.open("rb") as file:
        while line := file.readline():
            head = json.loads(line)
            yield head, file.read(head["size"])


def unpacked(body: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        import zstandard  # LangSmith's environment has it

        plain: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        return plain
    return gzip.decompress(body) if encoding == "gzip" else body


def main() -> None:
    seen: set[bytes] = set()
    routes: Counter[str] = Counter()
    repeated, last = 0, None
    for head, body in requests(Path(sys.argv[1])):
        receipts = set(RECEIPT.findall(unpacked(body, head["encoding"])))
        routes[head["route"]] += 1
        repeated += len(receipts & seen)
        if receipts - seen:
            last = head["at"]
        seen |= receipts
    print(json.dumps({"arrived": len(seen), "repeated": repeated, "last": last, "routes": routes}))


if __name__ == "__main__":
    main()
