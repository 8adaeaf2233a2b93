"""Crawling: network-bound, on crawl_queue."""

from __future__ import annotations

from typing import Any

import httpx
from celery import chord
from celery.exceptions import SoftTimeLimitExceeded

from app.core.base import ChatliteTask
from app.core.celery_config import app, settings
from app.crawler import Crawler, CrawlResult, RobotsUnavailableError, http_client, validate
from app.tasks.process import collect, process_page, summarise

#: A seed that can't be reached is tried again up to three times, after at most 5, 10 and 20 s (with jitter).
RETRY: dict[str, Any] = {
    "autoretry_for": (httpx.TransportError, RobotsUnavailableError),
    "retry_backoff": 5,
    "retry_backoff_max": 300,
    "retry_jitter": True,
}


def _crawl(url: str, depth: int, max_pages: int) -> CrawlResult:
    """Crawl a site; on the soft time limit return what is there, flagged ``truncated``.

    Raises ValueError for a bad request, httpx.TransportError or RobotsUnavailableError for a site that can't be read.
    """
    seed = validate(url, depth, max_pages)
    result = CrawlResult()
    try:
        with http_client(settings.user_agent) as client:
            Crawler(client, settings.user_agent).crawl(seed, depth, max_pages, result)
    except SoftTimeLimitExceeded:
        result.truncated = True
    return result


@app.task(bind=True, **RETRY)
def crawl_site(self: ChatliteTask, url: str, depth: int = 2, max_pages: int = 50) -> dict[str, Any]:
    """Crawl ``url`` and its site, ``depth`` (0..5) links deep, at most ``max_pages`` (1..500) pages.

    Returns ``{"url", "pages": [{"url", "status", "title", "depth", "links"}], "skipped": [{"url", "depth", "status",
    "reason"}], "truncated", "node"}``. A bad argument fails the task with ValueError, without a retry.
    """
    return {"url": url, **_crawl(url, depth, max_pages).summary(), "node": self.node}


@app.task(bind=True, **RETRY)
def crawl_and_process(self: ChatliteTask, url: str, depth: int = 2, max_pages: int = 50) -> dict[str, Any]:
    """The whole workflow: crawl here, one ``process_page`` per page on process_queue, then ``collect``.

    The task is replaced by that chord, so its own id yields the result of ``collect``. Running it twice does the work
    twice and gives the same result. Arguments and errors as for ``crawl_site``.
    """
    crawl = _crawl(url, depth, max_pages)
    context = {"url": url, **crawl.summary(), "node": self.node}
    del context["pages"]
    if not crawl.pages:
        return summarise([], context, self.node)
    header = [
        process_page.s({"url": page.url, "title": page.title, "depth": page.depth, "html": page.html})
        for page in crawl.pages
    ]
    result: dict[str, Any] = self.replace(chord(header, collect.s(context)))
    return result
