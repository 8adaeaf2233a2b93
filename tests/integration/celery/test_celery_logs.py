"""What nodes and beat write, to files and to the journal: no line is lost under load, and JSON is one object a line."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.load import Load, Results
from tests.support.logs import Logs
from tests.support.site import Site
from tests.support.soak import Soak
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

JSON_KEYS = {"time", "level", "logger", "node", "process", "message"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.mark.soak
def test_no_line_is_lost_under_load(host: Host, logs: Logs, site: Site, soak: Soak) -> None:
    """Tasks run before, between and after rotations, which need not be many: each is a chance to lose a line."""
    rotations, tasks, rate = soak.size(4, 12), soak.size(25, 1000), soak.size(40, 150)  # a second, of two lines each
    rotate = f"logrotate --force /etc/logrotate.d/{logs.app}" if logs.to == "files" else "journalctl --rotate"
    results = Results(site.results, logs.app)
    with Load(site.broker, logs.app, rate=rate, name="app.tasks.misc.echo", args=("x",), queue="crawl_queue") as load:
        results.wait_for_more(load, tasks)
        for _ in range(rotations):
            host.check_output(rotate)
            results.wait_for_more(load, tasks)
    ids = load.submitted
    wait_for(lambda: results.of(ids) == len(ids), what="every task")
    expected = Counter((task, what) for task in ids for what in ("received", "succeeded"))
    wait_for(lambda: logs.echoes().total() >= expected.total(), what="two lines of every task")
    counted = logs.echoes()
    ran = Counter(task for task, what in counted.elements() if what == "succeeded")
    soak.measured(
        f"{logs.form} logs ({logs.to}) rotated {rotations} times: {(expected - counted).total()} of "
        f"{expected.total():,} lines missing",
        submitted=len(ids),
        lost=len(set(ids) - set(ran)),
        twice=sum(times > 1 for times in ran.values()),
    )
    assert counted == expected
    if logs.to == "files":
        rotated = host.check_output("ls /var/log/%s", logs.app).split()
        assert f"crawler.log.{rotations}.gz" in rotated  # the main process writes a line of each task
        assert not [name for name in rotated if name.endswith(".backup")]
        fresh = host.file(f"/var/log/{logs.app}/crawler.log")
        assert (fresh.user, fresh.mode) == (logs.app, 0o640)


@pytest.mark.parametrize("unit", ["worker@crawler", "beat"])
def test_each_line_is_an_object_with_what_an_operator_looks_for(logs: Logs, unit: str, worker: Worker) -> None:
    if logs.form == "text":
        pytest.skip("these nodes write text")
    wait_for(lambda: logs.lines(unit), what="lines")
    entries = logs.entries(unit)
    for entry in entries:
        assert set(entry) >= JSON_KEYS
        assert TIME.fullmatch(entry["time"])
        assert entry["node"].endswith(worker.hostname)
        assert ("task_id" in entry) == ("task_name" in entry)
    ready = {entry["node"] for entry in entries if entry["message"].endswith("ready.")}
    assert ready <= {worker.node("crawler").address}


def test_a_failed_task_is_one_line_with_its_traceback(logs: Logs, worker: Worker) -> None:
    if logs.form == "text":
        pytest.skip("these nodes write text")
    # by its name, or else the sender would check the arguments
    task = worker.evaluate("result = app.send_task('app.tasks.misc.echo', (1, 2, 3), queue='crawl_queue').id")

    def failure() -> dict[str, Any] | None:
        return next((each for each in logs.entries() if each.get("task_id") == task and "exception" in each), None)

    entry = wait_for(failure, what="the failure's line")
    assert (entry["level"], entry["task_name"]) == ("ERROR", "app.tasks.misc.echo")
    assert entry["exception"].startswith("Traceback")
    assert "TypeError" in entry["exception"]


def test_only_files_are_rotated(host: Host, logs: Logs) -> None:
    assert host.file(f"/etc/logrotate.d/{logs.app}").exists is (logs.to == "files")


def test_each_node_is_supervised_with_its_pid_file(host: Host, logs: Logs, worker: Worker) -> None:
    crawler = worker.node("crawler")
    assert host.file(f"/run/{logs.app}-crawler/crawler.pid").content_string.strip() == str(crawler.pid)
    assert "worker" in " ".join(crawler.arguments())
