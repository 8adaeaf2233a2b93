"""Celery nodes on a host: what runs, answers, and comes back."""

from __future__ import annotations

import re

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
    expected = {node.name: sorted(node.queues) for node in worker.nodes}
    wait_for(lambda: chatlite.answers() == expected, what="all nodes' answers")


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
        "result = {queue: answer.get()['node'] for queue, answer in sent.items()}"
    )
    for queue, node in answered.items():
        assert re.sub(r"\d*@.*", "", node) in served[queue]


def test_options_and_limits_are_the_inventorys(worker: Worker) -> None:
    for node in worker.nodes:
        for option in node.definition["options"]:
            name, _, value = option.partition("=")
            (given,) = [found for found in node.arguments() if found.partition("=")[0] == name]
            # the role has its own modules imported, too
            assert given == option or (name == "--include" and value in given.partition("=")[2].split(","))
    limits = {"MemoryMax": ("MemoryMax", "infinity"), "CPUQuota": ("CPUQuotaPerSecUSec", "infinity")}
    for node in worker.nodes:
        for directive, (shown, unlimited) in limits.items():
            assert (node.show(shown) == unlimited) == (directive not in node.definition["limits"])


def test_a_node_has_its_niceness_and_arguments(host: Host, worker: Worker, variables: Variables) -> None:
    for node in worker.nodes:
        entry = next(entry for entry in variables["celery_nodes"] if node.name.rstrip("0123456789") == entry["name"])
        assert host.check_output(f"ps -o ni= -p {node.pid}").strip() == str(entry.get("nice", 0))
        assert set(entry.get("extra_arguments", [])) <= set(node.arguments())


def test_settings_of_nodes_are_the_roles_whatever_the_application_sets(
    worker: Worker, chatlite: Chatlite, variables: Variables
) -> None:
    if "celery_soft_shutdown_timeout" not in variables:
        pytest.skip("the inventory leaves it to the role")
    seen = chatlite.inspect("conf")
    assert set(seen) == {node.name for node in worker.nodes}
    soft = variables["celery_soft_shutdown_timeout"]
    assert {conf["worker_soft_shutdown_timeout"] for conf in seen.values()} == {soft}
    silent = {node.name for node in worker.nodes if node.definition["settings"]}
    assert {name for name, conf in seen.items() if not conf["worker_send_task_events"]} == silent


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
    last = "from app.tasks.monitor import report\nresult = (report.delay().get()['heartbeat'] or {}).get('count', 0)"
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
def test_target_stops_and_starts_all_nodes(host: Host, app: str, chatlite: Chatlite) -> None:
    host.check_output("systemctl stop %s-workers.target", app)
    listed = "systemctl list-units --plain --no-legend --state=active '%s-worker@*' | wc -l"
    wait_for(lambda: host.check_output(listed, app) == "0", what="the stop of all nodes")
    host.check_output("systemctl start %s-workers.target", app)
    chatlite.wait_for_all()


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
