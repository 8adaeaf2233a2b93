"""The smoke run's command line, with results made up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from app import smoke
from app.core.celery_config import QUEUES
from app.tasks.crawl import crawl_and_process
from app.tasks.misc import echo

CRAWL = {
    "pages": 1,
    "words": 3,
    "documents": [{"url": "http://a/", "words": 3}],
    "top_words": [["redis", 2], ["queue", 1]],
    "nodes": {"crawl": "crawler@h", "process": ["processor@h"]},
    "skipped": [],
}


class Result:
    """A result: the answer, the error the task or the backend raised, or None while there is none."""

    def __init__(self, value: Any) -> None:
        self.result = value

    def ready(self) -> bool:
        """Whether the task is done; fails as Celery does when Redis is away."""
        if isinstance(self.result, OperationalError):
            raise self.result
        return self.result is not None

    def successful(self) -> bool:
        """Whether the task returned."""
        return not isinstance(self.result, Exception)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each queue's probe and the crawl answer; the tests change it."""
    values: dict[str, Any] = {queue: {"queue": queue, "node": f"{queue}@h"} for queue in QUEUES} | {"crawl": CRAWL}

    def probe(args: tuple[str], expires: float, queue: str = "default") -> Result:
        assert args == (queue,)
        return Result(values[queue])

    monkeypatch.setattr(echo, "apply_async", probe)
    monkeypatch.setattr(crawl_and_process, "apply_async", lambda args, expires: Result(values["crawl"]))
    return values


def test_json_report(answers: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main(["http://a/", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["queues"] == {queue: f"{queue}@h" for queue in QUEUES}
    assert (report["crawl"]["pages"], report["crawl"]["words"], report["crawl"]["urls"]) == (1, 3, ["http://a/"])


def test_summary_for_people(answers: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke.main(["http://a/"]) == 0
    assert "Crawled 1 pages, 3 words" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("monitor_queue", None, "Queue monitor_queue had no answer in time"),
        ("default", {"queue": "celery", "node": "x@h"}, "The probe for default came through celery"),
        ("crawl", None, "The crawl of http://a/ had no answer in time"),
        ("crawl", ValueError("depth is 9"), "The crawl of http://a/ failed with ValueError: depth is 9"),
        ("crawl", CRAWL | {"pages": 0, "skipped": [{"reason": "answered 404"}]}, "found no page: answered 404"),
        ("crawl_queue", OperationalError("refused"), "Redis can't be used: refused"),
    ],
)
def test_failure_is_one_sentence(
    where: str, value: Any, message: str, answers: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answers[where] = value
    assert smoke.main(["http://a/", "--json", "--timeout", "0.01"]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert json.loads(captured.out)["ok"] is False
