"""How nodes stop, and that what else a node or the sandbox is given takes effect. For this a fleet of its own runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

STOP, SOFT, MARGIN = 5, 2, 10  # seconds; the margin is the role's
NODES = [
    {"name": "one", "queues": ["crawl_queue"], "concurrency": 1, "stop_timeout": STOP},
    {"name": "two", "queues": ["crawl_queue"], "concurrency": 1, "stop_timeout": STOP},
    {
        "name": "rest",
        "queues": ["process_queue", "schedule_queue", "monitor_queue", "default"],
        "pool": "threads",
        "concurrency": 2,
        "nice": 5,
        "events": False,
        "environment": {"FLEET_TOKEN": 'a "secret" $of its own'},
        "extra_arguments": ["--without-mingle"],
    },
]
SANDBOX = {"MemoryDenyWriteExecute": False, "ReadWritePaths": ["/srv"]}


@pytest.fixture(scope="module", autouse=True)
def fleet(host: Host, fleets: Callable[..., Any]) -> None:
    """NODES on this host, in place of its own."""
    run = fleets(host.backend.host, celery_nodes=NODES, celery_soft_shutdown_timeout=SOFT, celery_sandbox=SANDBOX)
    assert "FLEET_TOKEN" not in run.output


@pytest.fixture
def show(host: Host, app: str) -> Callable[[str, str], str]:
    def ask(node: str, name: str) -> str:
        return str(host.check_output("systemctl show --value --property=%s %s-worker@%s.service", name, app, node))

    return ask


@pytest.fixture
def stop(host: Host, app: str, all_answer: Callable[[int], None]) -> Iterator[Callable[[str], float]]:
    """Stop a node, until the end of the test; the seconds it took."""

    def run(node: str) -> float:
        begun = time.monotonic()
        host.check_output("systemctl stop %s-worker@%s.service", app, node)
        return time.monotonic() - begun

    yield run
    host.check_output("systemctl start %s-workers.target", app)
    all_answer(len(NODES))


def runner(in_app: Callable[[str], Any], task: str) -> str | None:
    """The node that runs a task."""
    active = in_app("result = app.control.inspect(timeout=1).active() or {}")
    return next((node.partition("@")[0] for node, ran in active.items() if task in [one["id"] for one in ran]), None)


def outcome(in_app: Callable[[str], Any], task: str) -> Any:
    """A task's state, and the node that did it."""
    return in_app(
        "from celery.result import AsyncResult\n"
        f"done = AsyncResult({task!r}, app=app)\n"
        "result = [done.state, done.result['node'].partition('@')[0] if done.successful() else None]"
    )


@pytest.fixture
def left(redis_cli: Callable[..., str], app: str) -> Callable[[str], list[int]]:
    """How many messages of a task wait in the crawlers' queue, and how many haven't been acknowledged."""

    def count(task: str) -> list[int]:
        messages = [redis_cli("LRANGE", f"{app}:crawl_queue", "0", "-1"), redis_cli("HVALS", f"{app}:unacked")]
        return [len(re.findall(rf'"id": "{task}"', each.replace("\\", ""))) for each in messages]

    return count


def received(host: Host, app: str, task: str) -> list[str]:
    """The nodes that took a task's message, by their logs."""
    lines = host.check_output("grep -h --with-filename 'Task .*%s.* received' /var/log/%s/*.log || true", task, app)
    return re.findall(r"/(\w+)\.log:", lines)


def test_an_idle_node_stops_at_once(stop: Callable, show: Callable) -> None:
    assert stop("one") < STOP + SOFT
    assert show("one", "Result") == "success"


def test_a_task_that_ends_in_time_is_done_and_the_stop_lasts_no_longer(
    crawl: Callable, stop: Callable, show: Callable, in_app: Callable, left: Callable
) -> None:
    task, node = crawl(STOP - 1)
    assert left(task) == [0, 1]
    assert stop(node) < STOP + SOFT
    assert show(node, "Result") == "success"
    assert outcome(in_app, task) == ["SUCCESS", node]
    assert left(task) == [0, 0]


def test_a_task_that_outlasts_the_stop_is_handed_back_and_run_elsewhere(
    host: Host,
    app: str,
    crawl: Callable,
    stop: Callable,
    show: Callable,
    in_app: Callable,
    left: Callable,
    wait_for: Callable,
) -> None:
    task, node = crawl(STOP + SOFT + 10)
    other = {"one": "two", "two": "one"}[node]
    took = stop(node)
    assert STOP + SOFT <= took < STOP + SOFT + MARGIN
    assert show(node, "Result") == "success"
    wait_for(lambda: runner(in_app, task) == other, what=f"the crawl on {other}")
    wait_for(lambda: outcome(in_app, task)[0] == "SUCCESS", what="the crawl's end")
    assert outcome(in_app, task) == ["SUCCESS", other]
    assert left(task) == [0, 0]
    assert sorted(received(host, app, task)) == ["one", "two"]


def test_a_node_that_hears_no_signal_is_killed_in_time(host: Host, stop: Callable, show: Callable) -> None:
    host.check_output("kill -STOP %s", show("one", "MainPID"))
    took = stop("one")
    assert STOP + SOFT + MARGIN <= took < STOP + SOFT + MARGIN + 5
    assert show("one", "Result") == "signal"


def test_a_node_has_its_niceness_environment_and_arguments(host: Host, app: str, show: Callable) -> None:
    main = show("rest", "MainPID")
    assert host.check_output("ps -o ni= -p %s", main).strip() == "5"
    environment = host.check_output("tr '\\0' '\\n' < /proc/%s/environ", main).splitlines()
    assert 'FLEET_TOKEN=a "secret" $of its own' in environment
    arguments = host.check_output("tr '\\0' ' ' < /proc/%s/cmdline", main)
    assert " --pool=threads " in arguments
    assert " --without-mingle " in arguments
    assert " -- worker_soft_shutdown_timeout=2 worker_send_task_events=false" in arguments
    file = host.file(f"/etc/{app}/worker@rest.env")
    assert (file.user, file.group, file.mode) == ("root", app, 0o640)
    assert "FLEET_TOKEN" not in show("rest", "Environment") + host.check_output("cat /etc/systemd/system/*/*.conf")
    other = host.check_output("tr '\\0' '\\n' < /proc/%s/environ", show("one", "MainPID"))
    assert "FLEET_TOKEN" not in other


def test_no_application_can_put_its_own_soft_shutdown_over_the_roles(in_app: Callable) -> None:
    conf = in_app("result = app.control.inspect(timeout=2).conf() or {}")
    assert {node["worker_soft_shutdown_timeout"] for node in conf.values()} == {SOFT}
    assert {name.partition("@")[0] for name, node in conf.items() if not node["worker_send_task_events"]} == {"rest"}


def test_a_switch_of_the_sandbox_takes_effect(host: Host, show: Callable) -> None:
    assert show("one", "MemoryDenyWriteExecute") == "no"
    mounts = host.check_output("cat /proc/%s/mountinfo", show("one", "MainPID"))
    options = dict(re.findall(r"^\S+ \S+ \S+ \S+ (\S+) (\S+) ", mounts, re.MULTILINE))
    assert options["/srv"].split(",")[0] == "rw"
    assert options["/"].split(",")[0] == "ro"
