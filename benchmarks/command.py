"""The end of a benchmark's command."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run(main: Callable[[], None], *errors: type[Exception]) -> None:
    """Calls the function of a command, which one of these errors ends in one line."""
    try:
        main()
    except errors as error:
        sys.exit(f"error: {error}")
