"""The tasks' logic, run in this process: no broker, and a few lines of dictionary for Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from app.core import store
from app.core.celery_config import QUEUES, app
from app.crawler import Crawler, RobotsUnavailableError
from app.tasks import crawl, misc, monitor, process, schedule


class FakeRedis:
    """The five commands that app.core.store uses, in one process; a transaction never meets another client."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.ttl: dict[str, int] = {}

    def get(self, key: str) -> bytes | None:
        return self.data.get(key)

    def set(self, key: str, value: str, ex: int, nx: bool = False) -> bool | None:
        if nx and key in self.data:
            return None
        self.data[key], self.ttl[key] = value.encode(), ex
        return True

    def delete(self, key: str) -> None:
        del self.data[key]

    def multi(self) -> None:
        """Part of a transaction."""

    def transaction(self, function: Callable[[FakeRedis], Any], _key: str, value_from_callable: bool = False) -> Any:
        value = function(self)
        return value if value_from_callable else []


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    fake = FakeRedis()
    monkeypatch.setattr(store, "client", lambda: fake)
    return fake


def test_crawl_site_gives_json_and_its_node(site: str) -> None:
    result = crawl.crawl_site.apply((f"{site}/", 1)).get()
    assert json.loads(json.dumps(result)) == result
    assert result["node"]
    assert not result["truncated"]
    assert {page["depth"] for page in result["pages"]} == {0, 1}


@pytest.mark.parametrize("task", [crawl.crawl_site, crawl.crawl_and_process], ids=lambda task: task.name)
def test_bad_argument_fails_without_retry(task: Any) -> None:
    outcome = task.apply(("http://site.example/", 9))
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, ValueError)


def test_unreachable_site_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []

    def refuse(self: Crawler, seed: str, *_: Any) -> None:
        attempts.append(seed)
        raise RobotsUnavailableError("later")

    monkeypatch.setattr(Crawler, "crawl", refuse)
    outcome = crawl.crawl_site.apply(("http://site.example/",))
    assert isinstance(outcome.result, RobotsUnavailableError)
    assert len(attempts) == 1 + crawl.crawl_site.max_retries


def test_soft_time_limit_keeps_what_was_fetched(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Crawler._fetch_page
    fetched: list[str] = []

    def limited(self: Crawler, url: str, level: int, seen: set[str]) -> Any:
        if len(fetched) == 2:
            raise SoftTimeLimitExceeded
        fetched.append(url)
        return fetch(self, url, level, seen)

    monkeypatch.setattr(Crawler, "_fetch_page", limited)
    result = crawl.crawl_site.apply((f"{site}/", 1)).get()
    assert result["truncated"]
    assert [page["url"] for page in result["pages"]] == fetched


def test_crawl_without_a_page_is_summed_up_at_once(site: str) -> None:
    result = crawl.crawl_and_process.apply((f"{site}/missing.html",)).get()
    assert (result["pages"], result["words"], result["skipped"][0]["reason"]) == (0, 0, "answered 404")


def test_pages_are_processed_and_collected() -> None:
    pages = [{"url": f"http://a/{n}", "title": f"T{n}", "depth": n, "html": "<p>Redis redis queue"} for n in range(2)]
    documents = [process.process_page.apply((page,)).get() for page in pages]
    assert documents[0]["counts"] == {"redis": 2, "queue": 1}
    context = {"url": "http://a/0", "skipped": [], "truncated": False, "node": "crawler@host"}
    result = process.collect.apply((documents, context)).get()
    assert (result["pages"], result["words"], result["top_words"]) == (2, 6, [["redis", 4], ["queue", 2]])
    assert [document["title"] for document in result["documents"]] == ["T0", "T1"]
    assert result["nodes"] == {"crawl": "crawler@host", "process": [documents[0]["node"]]}
    assert json.loads(json.dumps(result)) == result


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Crawls that were enqueued: task id to seed."""
    crawls: dict[str, str] = {}

    def apply_async(args: tuple[str], task_id: str, expires: int) -> None:
        assert expires == schedule.MAX_WAIT
        crawls[task_id] = args[0]

    monkeypatch.setattr(crawl.crawl_and_process, "apply_async", apply_async)
    return crawls


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Task ids whose result is there; the tests fill it."""
    ids: set[str] = set()

    class Result:
        def __init__(self, task_id: str) -> None:
            self.task_id = task_id

        def ready(self) -> bool:
            return self.task_id in ids

    monkeypatch.setattr(app, "AsyncResult", Result)
    return ids


def test_recrawl_does_not_stack_and_starts_again_when_done(
    redis: FakeRedis, sent: dict[str, str], ready: set[str]
) -> None:
    first = schedule.schedule_recrawls.apply().get()
    assert list(first["enqueued"]) == ["http://one.example/", "http://two.example/"]
    assert set(redis.ttl.values()) == {schedule.CLAIM_TTL}
    assert all(key.startswith("chatlite:recrawl:") for key in redis.data)

    ready.add(first["enqueued"]["http://one.example/"])
    second = schedule.schedule_recrawls.apply().get()
    assert list(second["enqueued"]) == ["http://one.example/"]
    assert second["pending"] == {"http://two.example/": first["enqueued"]["http://two.example/"]}
    assert len(sent) == 3


def test_failed_publish_gives_the_claim_back(
    redis: FakeRedis, ready: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise ConnectionError("broker is away")

    monkeypatch.setattr(crawl.crawl_and_process, "apply_async", refuse)
    outcome = schedule.schedule_recrawls.apply((["http://one.example/"],))
    assert isinstance(outcome.result, ConnectionError)
    assert not redis.data


def test_release_leaves_another_owner_alone(redis: FakeRedis) -> None:
    assert store.claim("x", "me", 10)
    assert not store.claim("x", "you", 10)
    store.release("x", "you")
    assert store.holder("x") == "me"
    store.release("x", "me")
    assert store.holder("x") is None


def test_heartbeat_counts_and_report_tells_its_age(redis: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "queue_depths", lambda: dict.fromkeys(QUEUES, 0))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert monitor.report.apply().get()["heartbeat"] is None
    monitor.heartbeat.apply()
    monitor.heartbeat.apply()
    monkeypatch.setattr(time, "time", lambda: 1007.5)
    report = monitor.report.apply().get()
    assert (report["heartbeat"]["count"], report["heartbeat"]["at"], report["age"]) == (2, 1000.0, 7.5)
    assert set(report["depths"]) == set(QUEUES)


def test_echo_names_its_node() -> None:
    result = misc.echo.apply(("hello",)).get()
    assert result["text"] == "hello"
    assert result["node"]
