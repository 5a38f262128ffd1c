"""Silence for what Orbax prints when one of several reads or writes fails.

It abandons the others, whose tracebacks would follow the error after that was reported in one line.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from absl import logging as absl_logging


def hush() -> None:
    """Keeps the messages of Orbax and of its abandoned tasks off the screen."""
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    hook = sys.unraisablehook

    def without_abandoned_tasks(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = without_abandoned_tasks
