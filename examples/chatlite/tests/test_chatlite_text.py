"""Text, counts and embedding."""

from __future__ import annotations

import math

import pytest

from app.text import EMBEDDING_DIMENSIONS, embedding, merge_counts, top_words, visible_text, word_counts


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>two</p>", "One two"),
        ("<head><title>No</title></head><body>Yes</body>", "Yes"),
        ("a<script>b</script><style>c</style><!-- d --><template>e</template><noscript>f</noscript>g", "a g"),
        ("<div hidden>a <p hidden>b</p></div>c", "c"),
        ("caf&eacute; &amp;\n\t tea", "café & tea"),
        ("", ""),
        ("<p>never <b>closed", "never closed"),
    ],
)
def test_visible_text(html: str, text: str) -> None:
    assert visible_text(html) == text


def test_word_counts_fold_case() -> None:
    assert word_counts("Straße STRASSE, x2 x2!") == {"strasse": 2, "x2": 2}


def test_top_words_break_ties_by_alphabet() -> None:
    assert top_words({"b": 1, "a": 1, "c": 2}, 2) == [("c", 2), ("a", 1)]


def test_merge_counts() -> None:
    assert merge_counts([{"a": 1}, {"a": 2, "b": 1}]) == {"a": 3, "b": 1}


def test_embedding_is_a_unit_vector() -> None:
    vector = embedding(word_counts("redis keeps the queue and celery runs the tasks"))
    assert len(vector) == EMBEDDING_DIMENSIONS
    assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-5)


def test_embedding_never_changes() -> None:
    """Stored vectors stay comparable: the place and sign of a word are fixed for good."""
    assert {place: value for place, value in enumerate(embedding({"redis": 1})) if value} == {25: 1.0}


def test_embedding_of_nothing_is_zero() -> None:
    assert embedding({}) == [0.0] * EMBEDDING_DIMENSIONS


def test_similar_texts_are_closer() -> None:
    def cosine(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embedding(word_counts(one)), embedding(word_counts(other)), strict=True))

    assert cosine("redis queue broker", "redis queue worker") > cosine("redis queue broker", "apple pear plum")
