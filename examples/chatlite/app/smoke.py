"""One real run through every queue: ``python -m app.smoke URL``. Exit status 0, or 1 with one sentence on stderr."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, cast

from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app.core.celery_config import DEFAULT_QUEUE, QUEUES
from app.tasks.crawl import crawl_and_process
from app.tasks.misc import echo

POLL_SECONDS = 0.05


class SmokeError(Exception):
    """What went wrong, in one sentence."""


def run(url: str, depth: int, timeout: float) -> dict[str, Any]:
    """Crawl ``url`` and probe each queue, everything within ``timeout`` seconds.

    Returns ``{"crawl": {"pages", "words", "urls", "words_by_url", "top_words", "seconds"}, "queues": {queue: node},
    "ok": True}``.

    Raises:
        SmokeError: the broker can't be reached, a queue has no answer, or the crawl failed.
    """
    start = time.monotonic()
    try:
        probes = {queue: _probe(queue, timeout) for queue in QUEUES}
        crawl = crawl_and_process.apply_async((url, depth), expires=timeout)
        queues = {queue: _wait(probe, start + timeout, f"Queue {queue}") for queue, probe in probes.items()}
        result = _wait(crawl, start + timeout, f"The crawl of {url}")
    except (OperationalError, RedisError, RuntimeError) as error:  # RuntimeError: Celery lost its result backend
        reason = " ".join(str(error.__cause__ or error).split())
        raise SmokeError(f"Redis can't be used: {reason}") from error
    for queue, answer in queues.items():
        if answer["queue"] != queue:
            raise SmokeError(f"The probe for {queue} came through {answer['queue']}.")
    if not result["pages"]:
        reason = result["skipped"][0]["reason"] if result["skipped"] else "no reason given"
        raise SmokeError(f"The crawl of {url} found no page: {reason}.")
    return {
        "crawl": {
            "pages": result["pages"],
            "words": result["words"],
            "urls": sorted(document["url"] for document in result["documents"]),
            "words_by_url": {document["url"]: document["words"] for document in result["documents"]},
            "top_words": result["top_words"],
            "nodes": result["nodes"],
            "seconds": round(time.monotonic() - start, 3),
        },
        "queues": {queue: answer["node"] for queue, answer in queues.items()},
        "ok": True,
    }


def _probe(queue: str, expires: float) -> AsyncResult[Any]:
    """Send ``echo`` through ``queue`` by name; to the default queue by no name at all, which proves the fallback."""
    if queue == DEFAULT_QUEUE:
        return echo.apply_async((queue,), expires=expires)
    return echo.apply_async((queue,), queue=queue, expires=expires)


def _wait(result: AsyncResult[Any], deadline: float, what: str) -> dict[str, Any]:
    """Return a task's result by ``deadline`` (monotonic seconds).

    It polls: ``result.get`` keeps an unanswered result for good, which then prints a traceback at interpreter exit.

    Raises:
        SmokeError: no answer in time, or the task failed; the sentence begins with ``what``.
    """
    while not result.ready():
        if time.monotonic() > deadline:
            raise SmokeError(f"{what} had no answer in time: is a node consuming it?")
        time.sleep(POLL_SECONDS)  # between two looks at the result
    if not result.successful():
        raise SmokeError(f"{what} failed with {type(result.result).__name__}: {result.result}")
    return cast(dict[str, Any], result.result)


def describe(report: dict[str, Any]) -> str:
    """The report as a few lines for people."""
    crawl = report["crawl"]
    words = ", ".join(f"{word} {count}" for word, count in crawl["top_words"][:5])
    lines = [
        f"Crawled {crawl['pages']} pages, {crawl['words']} words in {crawl['seconds']:.1f} s. Most often: {words}."
    ]
    lines += [f"  {queue:15} {node}" for queue, node in report["queues"].items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m app.smoke", description="Run one crawl and probe every queue.")
    parser.add_argument("url", help="site to crawl, http or https")
    parser.add_argument("--depth", type=int, default=2, help="links to follow from the first page, 0..5 (default 2)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for everything (default 60)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    try:
        report = run(options.url, options.depth, options.timeout)
    except SmokeError as error:
        print(error, file=sys.stderr)
        if options.json:
            print(json.dumps({"ok": False, "error": str(error)}))
        return 1
    print(json.dumps(report) if options.json else describe(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
