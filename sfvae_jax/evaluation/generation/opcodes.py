"""What a pickle would build, from its opcodes: its size and depth are known before it is built.

`pickle.Unpickler` reserves room for the memo by the greatest index that a pickle names, and for
texts and bytes by the lengths that it promises; a tuple in a tuple, a hundred thousand deep, ends
the process when it is hashed.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import BinaryIO

MOST_OPCODES = 300_000  # the weights of Inception take 30,000
MOST_NESTED = 30  # containers in containers; a state dict has 6

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_CHANGES = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_MARK = -1  # in the place of a depth


def check_pickle(stream: BinaryIO) -> None:
    """Reads one pickle up to its end without building anything.

    Args:
        stream: at the pickle; afterwards behind it. What it reads is bounded by what there is.

    Raises:
        pickle.UnpicklingError: if it has too many opcodes, names too great an index or nests too
            deep.
        ValueError: if it is cut short or no pickle.
    """
    stack: list[int] = []  # how deep each object nests
    memo: dict[int, int] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number >= MOST_OPCODES:
            raise pickle.UnpicklingError(f"its pickle has more than {MOST_OPCODES} opcodes")
        if opcode.name in _PUTS or opcode.name == "MEMOIZE":
            index = len(memo) if argument is None else argument
            if not 0 <= index < MOST_OPCODES or not stack:
                raise pickle.UnpicklingError(f"its pickle puts something under index {index}")
            memo[index] = stack[-1]
        elif opcode.name in _GETS:
            if argument not in memo:
                raise pickle.UnpicklingError(f"its pickle has nothing under index {argument}")
            stack.append(memo[argument])
        else:
            _apply(opcode, stack)
        if stack and stack[-1] > MOST_NESTED:
            raise pickle.UnpicklingError(f"its pickle nests more than {MOST_NESTED} deep")


def _apply(opcode: pickletools.OpcodeInfo, stack: list[int]) -> None:
    """Takes what an opcode takes from the stack, and puts there what it brings."""
    before, taken = opcode.stack_before, []
    if pickletools.markobject in before:
        before = before[: before.index(pickletools.markobject)]
        while stack and stack[-1] != _MARK:
            taken.append(stack.pop())
        if not stack:
            raise pickle.UnpicklingError("its pickle takes what is not there")
        stack.pop()
    if len(stack) < len(before):
        raise pickle.UnpicklingError("its pickle takes what is not there")
    below = [stack.pop() for _ in before]
    if opcode.name in _CHANGES:
        # The container itself lies lowest.
        depth = max(below[-1], 1 + max([*below[:-1], *taken], default=0))
    else:
        depth = 1 + max([*below, *taken], default=0)
    stack += [_MARK if each is pickletools.markobject else depth for each in opcode.stack_after]
