"""Threads of the package's own, where no OpenMP runtime is loaded that the kernels could share.

A second runtime beside the one that torch may bring later would be a trap; Python's threads are
none, and a kernel runs without Python's lock. They wait for nothing but work: rows of a batch, a
share of them each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from grus.kernels import threads

Job = Callable[[], None]


class _Pool:
    """Made when first needed, ended by Python at its exit."""

    workers: ThreadPoolExecutor | None = None


def _after_fork() -> None:
    _Pool.workers = None  # its threads did not survive


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def at_once(jobs: Sequence[Job]) -> None:
    """Run the jobs, the first of them on the calling thread, and return when all are over; what no
    other thread has begun by then runs on this one, too. Raises what a job raised."""
    begun = [(job, _submit(job)) for job in jobs[1:]]
    try:
        jobs[0]()
    finally:
        for job, future in begun:
            if future is None or future.cancel():
                job()
            else:
                future.exception()  # waits: the job's memory lives until it is over
    for _, future in begun:
        if future is not None and not future.cancelled():
            future.result()


def _submit(job: Job) -> Future[None] | None:
    """None where Python is ending and begins no thread any more."""
    workers = _Pool.workers
    if workers is None:
        workers = _Pool.workers = ThreadPoolExecutor(max(1, threads.cpus() - 1), "grus")
    try:
        return workers.submit(job)
    except RuntimeError:
        return None
