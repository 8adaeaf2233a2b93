"""Celery nodes on a host: what runs, answers, and comes back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Site
from tests.support.systemd import exposure
from tests.support.waiting import wait_for, wait_for_boot

testinfra_hosts = ["ansible://workers"]


def test_each_node_answers_and_consumes_its_queues(worker: Worker, chatlite: Chatlite) -> None:
    assert chatlite.answers() == {node.name: sorted(node.queues) for node in worker.nodes}


def test_nothing_else_runs(host: Host, app: str, worker: Worker) -> None:
    found = host.check_output("systemctl list-units --plain --no-legend '%s-*.service' | cut -d' ' -f1", app)
    assert set(found.split()) == {*(node.unit for node in worker.nodes), *([worker.beat] if worker.has_beat else [])}


def test_each_queue_reaches_the_node_meant_for_it(worker: Worker, variables: Variables) -> None:
    queues = {queue for node in worker.nodes for queue in node.queues}
    served = {
        queue: {node["name"] for node in variables["celery_nodes"] if queue in node["queues"]} for queue in queues
    }
    answered = worker.evaluate(
        "from app.tasks.misc import echo\n"
        f"sent = {{queue: echo.apply_async((queue,), queue=queue) for queue in {sorted(queues)!r}}}\n"
        "result = {queue: answer.get(timeout=30)['node'] for queue, answer in sent.items()}"
    )
    for queue, node in answered.items():
        assert re.sub(r"\d*@.*", "", node) in served[queue]


def test_options_and_limits_are_the_inventorys(worker: Worker) -> None:
    for node in worker.nodes:
        assert set(node.definition["options"]) <= set(node.arguments())
    limits = {"MemoryMax": ("MemoryMax", "infinity"), "CPUQuota": ("CPUQuotaPerSecUSec", "infinity")}
    for node in worker.nodes:
        for directive, (shown, unlimited) in limits.items():
            assert (node.show(shown) == unlimited) == (directive not in node.definition["limits"])


def test_log_and_pid_directories_belong_to_the_application(host: Host, app: str, worker: Worker) -> None:
    for path in [f"/var/log/{app}", f"/var/lib/{app}", *(f"/run/{app}-{node.name}" for node in worker.nodes)]:
        directory = host.file(path)
        assert (directory.user, directory.group, directory.mode) == (app, app, 0o750), path
    for node in worker.nodes:
        assert host.file(f"/run/{app}-{node.name}/{node.name}.pid").user == app
        assert host.file(f"/var/log/{app}/{node.name}.log").exists


def test_units_are_enabled(host: Host, app: str, worker: Worker) -> None:
    for name in [*(node.unit for node in worker.nodes), f"{app}-workers.target"]:
        assert host.check_output("systemctl is-enabled %s", name) == "enabled"


def test_sandbox(host: Host, worker: Worker) -> None:
    for unit in [*(node.unit for node in worker.nodes), *([worker.beat] if worker.has_beat else [])]:
        assert exposure(host, unit) <= 1.0


def test_beat_fires(worker: Worker) -> None:
    if not worker.has_beat:
        pytest.skip("beat runs on another host")
    last = (
        "from app.tasks.monitor import report\n"
        "result = (report.delay().get(timeout=30)['heartbeat'] or {}).get('count', 0)"
    )
    before = worker.evaluate(last)
    wait_for(lambda: worker.evaluate(last) > before, what="the next heartbeat")


def test_beats_schedule_is_in_the_state_directory(host: Host, app: str, worker: Worker) -> None:
    if not worker.has_beat:
        pytest.skip("beat runs on another host")
    assert host.run("ls /var/lib/%s/beat-schedule*", app).rc == 0


def test_acl_refused_nothing(host: Host, broker: Server, site: Site) -> None:
    if host.backend.host not in site.group("redis"):
        pytest.skip("Redis runs on another host")
    assert broker.refused() == ""


@pytest.mark.destructive
def test_a_killed_node_is_back(worker: Worker, chatlite: Chatlite) -> None:
    node = worker.nodes[0]
    node.replaced(lambda: node.kill(node.pid))
    wait_for(lambda: node.name in chatlite.answers(), what=f"{node.name}'s answer")


@pytest.mark.destructive
def test_stop_waits_for_the_running_task(worker: Worker, chatlite: Chatlite) -> None:
    """The site answers after four seconds; a stop that comes meanwhile lets the crawl finish and keep its result."""
    crawler = worker.node("crawler")
    task, _ = chatlite.crawl(4)
    result = f"from celery.result import AsyncResult\nresult = AsyncResult({task!r}, app=app)\n"
    pages = result + "result = [result.state, len((result.result or {}).get('pages', []))]"
    crawler.stop()
    assert chatlite.evaluate(pages) == ["SUCCESS", 1]
    assert crawler.show("Result") == "success"
    crawler.start()


@pytest.mark.destructive
def test_target_stops_and_starts_all_nodes(host: Host, app: str, chatlite: Chatlite) -> None:
    host.check_output("systemctl stop %s-workers.target", app)
    listed = "systemctl list-units --plain --no-legend --state=active '%s-worker@*' | wc -l"
    wait_for(lambda: host.check_output(listed, app) == "0", what="the stop of all nodes")
    host.check_output("systemctl start %s-workers.target", app)
    chatlite.wait_for_all()


@pytest.mark.destructive
def test_rotation_loses_no_line(host: Host, app: str, worker: Worker) -> None:
    def crawls(count: int) -> list[str]:
        code = (
            "from app.tasks.misc import echo\n"
            f"sent = [echo.apply_async(('x',), queue='crawl_queue') for _ in range({count})]\n"
            "[answer.get(timeout=30) for answer in sent]\nresult = [answer.id for answer in sent]"
        )
        return list(worker.evaluate(code))

    before = crawls(20)
    host.check_output("logrotate --force /etc/logrotate.d/%s", app)
    after = crawls(20)
    fresh = f"/var/log/{app}/crawler.log"
    wait_for(lambda: all(task in host.file(fresh).content_string for task in after), what="the lines in the new file")
    logged = host.check_output("cat %s %s.1", fresh, fresh)
    assert [task for task in before + after if f"[{task}] received" not in logged] == []
    assert host.file(fresh).mode == 0o640
    assert host.file(fresh).user == app


Pids = dict[str, int]  # node -> its main process


@pytest.fixture(scope="module")
def changes(host: Host, worker: Worker, variables: Variables) -> list[Pids]:
    """The main processes before two runs, between them and after them.

    The first has one node more, and another concurrency for the inventory's first; the second has neither. Before it,
    another run wrote a file of the inventory's second node and died before the restart.
    """
    _, second, *_ = worker.nodes

    def pids() -> Pids:
        return {node.name: node.pid for node in [*worker.nodes, worker.node("passing")]}

    definitions = [dict(definition) for definition in variables["celery_nodes"]]
    definitions[0]["concurrency"] = 3
    passing = {"name": "passing", "queues": ["default"], "concurrency": 1}
    seen = [pids()]
    worker.converge(celery_nodes=[*definitions, passing]).succeeded()
    seen.append(pids())
    host.check_output("touch /etc/systemd/system/%s.d/node.conf", second.unit)
    worker.converge().succeeded()
    return [*seen, pids()]


def restarted(before: Pids, after: Pids) -> set[str]:
    """The nodes whose main process is another."""
    return {name for name in before if before[name] != after[name]}


@pytest.mark.destructive
def test_a_node_that_left_the_inventory_is_gone(host: Host, app: str, changes: list[Pids], worker: Worker) -> None:
    passing = worker.node("passing")
    assert changes[1]["passing"] != 0
    assert changes[2]["passing"] == 0
    assert not host.service(passing.unit).is_running
    assert passing.show("UnitFileState") == "disabled"
    assert not host.file(f"/etc/systemd/system/{passing.unit}.d").exists
    assert not host.file(f"/etc/systemd/system/{app}-workers.target.wants/{passing.unit}").exists
    assert host.run("journalctl --no-pager --unit=%s | grep -q 'Deactivated successfully'", passing.unit).rc == 0


@pytest.mark.destructive
def test_only_what_changed_is_restarted(changes: list[Pids], worker: Worker) -> None:
    assert restarted(changes[0], changes[1]) == {worker.nodes[0].name, "passing"}


@pytest.mark.destructive
def test_a_restart_that_was_interrupted_is_made_up_for(changes: list[Pids], worker: Worker, host: Host) -> None:
    """A run that wrote files and died before the restart leaves nothing that the next run doesn't see."""
    assert restarted(changes[1], changes[2]) == {worker.nodes[0].name, worker.nodes[1].name, "passing"}
    assert all(host.service(node.unit).is_running for node in worker.nodes)


@pytest.mark.destructive
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"celery_app": "app.core.missing"}, "No module named 'app.core.missing'"),
        (
            {"celery_name": "chatlite", "celery_nodes": [{"name": "crawler", "queues": ["other"]}]},
            "which no node consumes",
        ),
    ],
)
def test_a_node_that_does_not_come_up_fails_the_play_with_its_log(
    worker: Worker, change: dict[str, Any], said: str
) -> None:
    broken = worker.converge(celery_ready_timeout=5, **change)
    assert broken.returncode != 0
    assert said in broken.output
    assert "put back" in broken.output
    worker.converge().succeeded()


@pytest.mark.destructive
def test_everything_is_back_after_a_restart_of_the_host(
    host: Host, app: str, site: Site, worker: Worker, chatlite: Chatlite
) -> None:
    booted = host.check_output("systemctl show --value --property=UserspaceTimestampMonotonic")
    site.docker("restart", worker.name, "-t", "60")
    wait_for_boot(host)
    assert host.check_output("systemctl show --value --property=UserspaceTimestampMonotonic") != booted
    chatlite.wait_for_all()
    for node in worker.nodes:
        assert host.file(f"/run/{app}-{node.name}").user == app
