"""What an evaluation returns for each of its measures: a number, or one of the types below."""

from __future__ import annotations


class NotApplicable(Exception):
    """A measure that does not apply to the model; the message says why."""


class Doubtful(float):
    """A measure that cannot be trusted as it stands.

    Attributes:
        caveat: why not, and what to do about it.
    """

    caveat: str

    def __new__(cls, value: float, caveat: str) -> Doubtful:
        """Returns the number with its caveat."""
        number = super().__new__(cls, value)
        number.caveat = caveat
        return number


class OfText(float):
    """A measure of a single text, such as a molecule.

    Attributes:
        text: the text.
    """

    text: str

    def __new__(cls, value: float, text: str) -> OfText:
        """Returns the number with its text."""
        number = super().__new__(cls, value)
        number.text = text
        return number


# A measure's value; `Doubtful` and `OfText` are floats.
Value = float | NotApplicable

# Values by the names of their measures.
Measured = dict[str, Value]
