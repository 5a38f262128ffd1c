"""The name of a run: what it changes, as a folder may be called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_LONGEST = 100  # a file name holds 255 bytes, of which the run's own files may want some
_BRACKETS = re.compile(r"[\s()\[\]'\"]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=,+-]+")


def name_of(overrides: Mapping[str, Any]) -> str:
    """`KEY=VALUE,...`; where characters had to go, a digest of all keeps the name unique."""
    exact = ",".join(f"{key}={value}" for key, value in overrides.items())
    safe = _UNSAFE.sub("-", _BRACKETS.sub("", exact))
    if safe == exact and len(exact) <= _LONGEST:
        return exact or "defaults"
    digest = hashlib.sha256(exact.encode()).hexdigest()[:8]
    return f"{safe[: _LONGEST - len(digest) - 1]}-{digest}"
