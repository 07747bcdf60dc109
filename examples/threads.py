"""Threads: work that is handed to other threads stays in the tree of whoever handed it over.

    python examples/threads.py

Hashes files of the standard library in four ways. Threads do not inherit context variables, so work in a
plain Thread or pool would start a trace of its own; honeytrace.ThreadPoolExecutor and honeytrace.propagate
hand on what is current. asyncio.to_thread needs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from pathlib import Path

import honeytrace
from honeytrace import cli

FOLDER = Path(asyncio.__file__).parent


@honeytrace.trace("tool")
def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@honeytrace.trace
def in_a_pool(paths: list[Path]) -> list[str]:
    """The pool of concurrent.futures, with one word changed."""
    with honeytrace.ThreadPoolExecutor(max_workers=3) as pool:
        return list(pool.map(digest, paths))


@honeytrace.trace
def in_a_thread(path: Path) -> str:
    """A thread of one's own: propagate() says below what it runs."""
    results: queue.Queue[str] = queue.Queue()

    def work() -> None:
        results.put(digest(path))

    thread = threading.Thread(target=honeytrace.propagate(work))
    thread.start()
    thread.join()
    return results.get()


@honeytrace.trace
async def beside_the_event_loop(paths: list[Path]) -> list[str]:
    """Blocking work off the loop: to_thread carries context by itself, run_in_executor does not."""
    loop = asyncio.get_running_loop()
    first = asyncio.to_thread(digest, paths[0])
    second = loop.run_in_executor(None, honeytrace.propagate(digest), paths[1])
    return list(await asyncio.gather(first, second))


def main() -> None:
    honeytrace.init(exporters=["local"])
    paths = sorted(FOLDER.glob("*.py"))
    with honeytrace.session("threads", metadata={"folder": str(FOLDER)}) as session:
        digests = in_a_pool(paths[:4])
        digests.append(in_a_thread(paths[4]))
        digests += asyncio.run(beside_the_event_loop(paths[5:7]))
    for path, found in zip(paths, digests, strict=False):
        print(f"{found}  {path.name}")
    honeytrace.flush()
    print()
    cli.main(["show", session.session_id])


if __name__ == "__main__":
    main()
