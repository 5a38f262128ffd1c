"""What Orbax leaves behind when one of several reads or writes fails: the others, unattended.

Their tracebacks would come after the error, which has been told in a line.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from absl import logging as absl_logging


def hush() -> None:
    """Keeps what Orbax and its stragglers say of an error that it raises off the screen."""
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    hook = sys.unraisablehook

    def without_stragglers(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = without_stragglers
