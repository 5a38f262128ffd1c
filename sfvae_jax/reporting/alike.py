"""Sentences that differ only in their numbers become one, with the ranges of these numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Not within names, settings, versions or lists, and not with a standard error.
_NUMBER = re.compile(
    r"(?<![\w.,/=\u2212-])(?<!± )"
    r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?"
    r"(?!\w|[.,/]\w| ±)"
)


def merged(sentences: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Merges sentences of equal words.

    Args:
        sentences: what each sentence is about, and the sentence.

    Returns:
        For each wording, in the order of its first sentence, what its sentences are about, each
        once, and the sentence, in which a number that differs is written as "3.6 to 6.1".
    """
    subjects: dict[tuple[str, ...], dict[str, None]] = {}
    numbers: dict[tuple[str, ...], list[list[str]]] = {}
    for subject, sentence in sentences:
        words = tuple(_NUMBER.split(sentence))
        subjects.setdefault(words, {})[subject] = None
        numbers.setdefault(words, []).append(_NUMBER.findall(sentence))
    return [
        (list(about), _filled(words, map(_range, zip(*numbers[words], strict=True))))
        for words, about in subjects.items()
    ]


def _range(numbers: Iterable[str]) -> str:
    written = {float(number.replace(",", "")): number for number in numbers}
    least, most = written[min(written)], written[max(written)]
    return least if least == most else f"{least} to {most}"


def _filled(words: tuple[str, ...], numbers: Iterable[str]) -> str:
    return "".join(word + number for word, number in zip(words, [*numbers, ""], strict=True))
