"""The memory that a run takes: that of this process and all its children."""

from __future__ import annotations

import time

import psutil

COST_SHARE = 1 / 300
"""The largest share of one core's time that measuring may take."""


class MemoryMeter:
    """Resident memory of this process and its children, in MB of 10**6 bytes; shared pages are counted once.

    The kernel reads all page tables for this number, which takes about 3 ms for a process with torch in it. So the meter
    measures the less often the longer it takes, and `read` returns the last measurement in between. On systems other than
    Linux, which do not report the proportional set size, it uses the resident size, which counts shared pages once per process.
    """

    def __init__(self) -> None:
        self.last_mb = 0.0
        self.peak_mb = 0.0
        self._process = psutil.Process()
        self._due = 0.0

    def read(self, now: float, force: bool = False) -> float:
        """Megabytes at about `now` (time.monotonic()); with `force` it measures in any case."""
        if force or now >= self._due:
            begin = time.perf_counter()
            self.last_mb = self._measure() / 1e6
            self.peak_mb = max(self.peak_mb, self.last_mb)
            self._due = now + (time.perf_counter() - begin) / COST_SHARE
        return self.last_mb

    def _measure(self) -> int:
        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                total += _resident_bytes(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it ended after it was listed
        return total


def _resident_bytes(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", 0) or full.rss)
