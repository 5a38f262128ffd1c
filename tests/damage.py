"""Files that are damaged at random."""

import numpy as np


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns the content with one or two kinds of damage at random places."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        kind, place = rng.integers(6), int(rng.integers(len(content) + 1))
        length = int(rng.integers(1, 40))
        other = int(rng.integers(len(content) + 1))
        if kind == 0:
            content[place : place + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            del content[place : place + length]
        elif kind == 2:
            content[place:place] = content[other : other + length]
        elif kind == 3:
            content[place : place + length] = b"\xff" * length
        elif kind == 4:
            content[place : place + length] = rng.bytes(length)
        else:
            content[place : place + 1] = b"([{)]},:'-9OLTrue \n"[length % 19 :][:1] * length
    return bytes(content)
