"""What a call cost, by a function of the program's, away from the thread that made the call.

A thread works off a bounded queue; the price follows its event as an update. What does not fit is counted. A price
that is not known stays absent.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread

from honeytrace._diagnostics import failed, guard
from honeytrace._span import Recorder, add, submit_update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Cost: TypeAlias = Callable[[str, str | None, Mapping[str, Any]], float | None]
    """Provider, model and usage (metadata names: prompt_tokens, ...) → US dollars, or None where it is not known."""
else:
    Cost = object

__all__ = ["Cost", "price", "settle_prices"]

_WAITING = 10_000
_IDLE = 5.0
_AT_EXIT = 1.0

_jobs: Queue[Any] = Queue(_WAITING)
_lock = Lock()
_worker: tuple[int, Thread] | None = None


def price(
    cost: Cost, provider: str, models: tuple[Any, Any], usage: Mapping[str, Any], recorder: Recorder, id: bytes
) -> None:
    """Ask for a price in the background, and add it to the event. The models: of the request, and of the answer."""
    with guard("asking for a price"):
        try:
            _jobs.put_nowait((cost, provider, models, usage, recorder, id))
        except Full as full:
            failed("asking for a price", full)
        _start()


def settle_prices(timeout: float = _AT_EXIT) -> bool:
    """Wait until all prices asked for so far are known; False if time ran out first."""
    if _worker is None or _worker[0] != os.getpid():
        return True
    done = Event()
    try:
        _jobs.put(done, timeout=timeout)
    except Full:
        return False
    _start()
    return done.wait(timeout)


def _start() -> None:
    global _worker
    with _lock:
        if _worker is None or _worker[0] != os.getpid() or not _worker[1].is_alive():
            if _worker is None:
                atexit.register(settle_prices)
            thread = Thread(target=_work, name="honeytrace-prices", daemon=True)
            _worker = (os.getpid(), thread)
            thread.start()


def _forget() -> None:
    """In a forked child: the parent asks for its own prices."""
    global _jobs, _lock
    _jobs, _lock = Queue(_WAITING), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _work() -> None:
    global _worker
    while True:
        try:
            job = _jobs.get(timeout=_IDLE)
        except Empty:
            with _lock:  # whoever puts a job looks for a worker after that, under the lock
                if _jobs.empty():
                    _worker = (os.getpid(), Thread())
                    return
            continue
        if isinstance(job, Event):
            job.set()
            continue
        cost, provider, (model, answered), usage, recorder, id = job
        with guard("asking for a price"):
            dollars = cost(provider, model, usage)
            if dollars is None and isinstance(answered, str) and answered != model:
                dollars = cost(provider, answered, usage)
            if dollars is not None:
                fields = {"metadata": {"cost": float(dollars), "cost_source": getattr(cost, "__name__", "cost")}}
                if not add(recorder, id, fields):
                    submit_update(recorder, id, fields)
