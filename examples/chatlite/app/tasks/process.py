"""Content processing and embeddings: CPU-bound, on process_queue."""

from __future__ import annotations

from typing import Any

from app.core.base import ChatliteTask
from app.core.celery_config import app
from app.text import embedding, merge_counts, top_words, visible_text, word_counts

#: Different words of one page that are handed on; the rest is rare words of very long pages.
MAX_COUNTED_WORDS = 1000
TOP_WORDS = 10


@app.task(bind=True, compression="zlib")
def process_page(self: ChatliteTask, page: dict[str, Any]) -> dict[str, Any]:
    """Turn a page ``{"url", "title", "depth", "html"}`` into what is indexed.

    Returns ``{"url", "title", "depth", "words": total, "counts": {word: n}, "embedding": [64 floats], "node"}``;
    ``counts`` has the 1000 most frequent words. Pure: running it twice gives the same result.
    """
    counts = word_counts(visible_text(page["html"]))
    return {
        "url": page["url"],
        "title": page["title"],
        "depth": page["depth"],
        "words": counts.total(),
        "counts": dict(top_words(counts, MAX_COUNTED_WORDS)),
        "embedding": embedding(counts),
        "node": self.node,
    }


@app.task(bind=True)
def collect(self: ChatliteTask, documents: list[dict[str, Any]], crawl: dict[str, Any]) -> dict[str, Any]:
    """Join the processed pages of one crawl; the end of ``crawl_and_process``. Returns what ``summarise`` does."""
    return summarise(documents, crawl, self.node)


def summarise(documents: list[dict[str, Any]], crawl: dict[str, Any], node: str) -> dict[str, Any]:
    """Sum up a crawl.

    Args:
        documents: results of ``process_page``.
        crawl: ``{"url", "skipped", "truncated", "node"}`` of ``crawl_site``.
        node: who collected.

    Returns:
        ``{"url", "pages": n, "words": n, "top_words": [[word, n]], "documents": [{"url", "title", "depth", "words",
        "embedding"}], "skipped", "truncated", "node", "nodes": {"crawl": node, "process": [nodes]}}``
    """
    return {
        "url": crawl["url"],
        "pages": len(documents),
        "words": sum(document["words"] for document in documents),
        "top_words": [list(item) for item in top_words(merge_counts(d["counts"] for d in documents), TOP_WORDS)],
        "documents": [
            {name: document[name] for name in ("url", "title", "depth", "words", "embedding")} for document in documents
        ],
        "skipped": crawl["skipped"],
        "truncated": crawl["truncated"],
        "node": node,
        "nodes": {"crawl": crawl["node"], "process": sorted({document["node"] for document in documents})},
    }
