"""Visible text, word counts and a deterministic embedding. Pure functions."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from bs4 import BeautifulSoup

EMBEDDING_DIMENSIONS = 64
_INVISIBLE = ("head", "script", "style", "template", "noscript", "svg")
_WORD = re.compile(r"\w+")


def visible_text(html: str) -> str:
    """The text a reader sees: no head, scripts, styles, comments or ``hidden`` elements; white space collapsed."""
    soup = BeautifulSoup(html, "html.parser")
    for element in soup.find_all(_INVISIBLE) + soup.find_all(hidden=True):
        element.decompose()
    return " ".join(soup.get_text(" ").split())


def word_counts(text: str) -> Counter[str]:
    """Case-folded words (runs of letters, digits and underscores) and how often each occurs."""
    return Counter(_WORD.findall(text.casefold()))


def top_words(counts: Mapping[str, int], limit: int) -> list[tuple[str, int]]:
    """The ``limit`` most frequent words, ties in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def embedding(counts: Mapping[str, int]) -> list[float]:
    """Embed word counts by signed feature hashing into a vector of 64 floats of length 1 (all zero without words).

    The hash is BLAKE2b, not ``hash()``, so the vector is the same in every process and Python version. Counts enter
    as ``1 + ln n``; values are rounded to 6 decimals.
    """
    vector = [0.0] * EMBEDDING_DIMENSIONS
    for word, count in sorted(counts.items()):
        digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
        sign = 1.0 if digest >> 63 else -1.0
        vector[digest % EMBEDDING_DIMENSIONS] += sign * (1.0 + math.log(count))
    norm = math.hypot(*vector)
    return [round(value / norm, 6) for value in vector] if norm else vector


def merge_counts(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The sum of several word counts."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
