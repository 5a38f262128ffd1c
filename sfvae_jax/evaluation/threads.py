"""Limits the threads of scikit-learn's fits."""

from __future__ import annotations

from contextlib import AbstractContextManager


def one_thread() -> AbstractContextManager:
    """Returns a context in which OpenMP and BLAS use one thread.

    The fits here are many small steps with a barrier after each. On cores that are shared with
    other programs, threads mostly wait at these barriers: 50 to 100 times longer than one thread
    takes alone. The results are the same.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
