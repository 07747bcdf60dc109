"""Measure one contender in this process: `python measure.py MODULE URL EVENTS SECONDS` ends with a line of JSON.

Set up, one call and its flush; then the calls, then the flush. Only the last two are measured: their time, the CPU of
the whole process, and how far its memory rose above what it was before.
"""

from __future__ import annotations

import gc
import json
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import monotonic

import workload


def cpu_seconds() -> float:
    """User and system time of all threads, and of children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)))


def memory(field: str) -> float:
    """A figure of the process in megabytes: VmRSS for what is resident, VmHWM for its peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024 / 1e6


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not allowed here: the peak since the start stands
        pass


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # on the path, not installed
        return package


def main() -> None:
    module, url, events, seconds = sys.argv[1:]
    contender = import_module(module).Contender(url)
    look_up = contender.trace(workload.look_up)
    with contender.session():
        workload.call(contender.trace(workload.warm_up), 0, 1)
    contender.flush(float(seconds))
    gc.collect()
    forget_peak()
    resident, cpu, began = memory("VmRSS"), cpu_seconds(), monotonic()
    with contender.session():
        workload.call(look_up, 0, int(events))
        called = monotonic()
    contender.flush(float(seconds))
    flushed, cpu, peak = monotonic(), cpu_seconds() - cpu, memory("VmHWM")
    contender.end()
    measured = {
        "began": began,
        "calls_s": called - began,
        "flushed_s": flushed - began,
        "cpu_s": cpu,
        "memory_mb": max(0.0, peak - resident),
        "versions": [installed(package) for package in contender.packages],
    }
    print("\n" + json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
