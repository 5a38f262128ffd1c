"""How many threads scikit-learn's fits may use."""

from __future__ import annotations

from contextlib import AbstractContextManager


def one_thread() -> AbstractContextManager:
    """While it is entered, OpenMP and BLAS work on one thread.

    The fits here are many small steps with a barrier after each. On cores that are shared with
    other programs the threads wait at these barriers most of the time: 50 to 100 times longer than
    one thread takes alone. The results are the same.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
