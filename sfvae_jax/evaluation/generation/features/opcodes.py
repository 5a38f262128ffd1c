"""A check of a pickle's opcodes, which bounds the size and depth of what it would build.

`pickle.Unpickler` allocates a memo as large as the largest index in the pickle, and texts and bytes
as long as it promises. Hashing tuples nested a hundred thousand deep ends the process.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import BinaryIO

MOST_OPCODES = 300_000  # the weights of Inception take 30,000
MOST_NESTED = 30  # levels of containers in containers; a state dict has 6

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_CHANGES = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_MARK = -1  # on the stack of depths, stands for the pickle's mark object


def check_pickle(stream: BinaryIO) -> None:
    """Reads one pickle up to its end without building anything.

    Args:
        stream: a stream that stands at the pickle, and then behind it. No more is read than it
            holds, whatever lengths the pickle promises.

    Raises:
        pickle.UnpicklingError: if the pickle has too many opcodes, too large an index or too many
            levels.
        ValueError: if it is cut short or not a pickle.
    """
    stack: list[int] = []  # how many levels each object has
    memo: dict[int, int] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number >= MOST_OPCODES:
            raise pickle.UnpicklingError(f"its pickle has more than {MOST_OPCODES} opcodes")
        if opcode.name in _PUTS or opcode.name == "MEMOIZE":
            index = len(memo) if argument is None else argument
            if not 0 <= index < MOST_OPCODES or not stack:
                raise pickle.UnpicklingError(f"its pickle stores an object under the index {index}")
            memo[index] = stack[-1]
        elif opcode.name in _GETS:
            if argument not in memo:
                raise pickle.UnpicklingError(
                    f"its pickle reads the index {argument}, which is empty"
                )
            stack.append(memo[argument])
        else:
            _apply(opcode, stack)
        if stack and stack[-1] > MOST_NESTED:
            raise pickle.UnpicklingError(
                f"its pickle is nested more than {MOST_NESTED} levels deep"
            )


def _apply(opcode: pickletools.OpcodeInfo, stack: list[int]) -> None:
    """Pops from the stack what an opcode takes, and pushes what it yields."""
    before, taken = opcode.stack_before, []
    if pickletools.markobject in before:
        before = before[: before.index(pickletools.markobject)]
        while stack and stack[-1] != _MARK:
            taken.append(stack.pop())
        if not stack:
            raise pickle.UnpicklingError("its pickle takes more than is on its stack")
        stack.pop()
    if len(stack) < len(before):
        raise pickle.UnpicklingError("its pickle takes more than is on its stack")
    below = [stack.pop() for _ in before]
    if opcode.name in _CHANGES:
        # The container itself is the lowest entry.
        depth = max(below[-1], 1 + max([*below[:-1], *taken], default=0))
    else:
        depth = 1 + max([*below, *taken], default=0)
    stack += [_MARK if each is pickletools.markobject else depth for each in opcode.stack_after]
