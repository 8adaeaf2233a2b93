"""Celery nodes on a host: what runs, answers, and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://workers"]


@pytest.fixture(scope="module")
def nodes(host: Host, variables) -> list[dict[str, Any]]:
    """The nodes that this host has to run."""
    return variables.evaluate(f"celery_nodes | celeriac.fleet.celery_host_nodes('{host.backend.host}')")


@pytest.fixture
def answers(in_app: Callable[[str], Any], hostname: str) -> Callable[[], dict[str, list[str]]]:
    """Ask the nodes of this host for their queues: node name -> sorted queues."""

    def ask() -> dict[str, list[str]]:
        replies = in_app("result = app.control.inspect(timeout=2).active_queues() or {}")
        return {
            node.partition("@")[0]: sorted(queue["name"] for queue in queues)
            for node, queues in replies.items()
            if node.endswith(f"@{hostname}")
        }

    return ask


@pytest.fixture(scope="module")
def converge(host: Host, playbook: Callable[..., Any]) -> Callable[..., Any]:
    """Run the celery role on this host alone."""
    return lambda **variables: playbook(
        "playbooks/workers.yml", f"--limit={host.backend.host}", "--tags=celery", **variables
    )


def test_each_node_answers_and_consumes_its_queues(nodes: list[dict], answers: Callable) -> None:
    assert answers() == {node["name"]: sorted(node["queues"]) for node in nodes}


def test_nothing_else_runs(host: Host, app: str, nodes: list[dict], unit: Callable, inventory) -> None:
    found = host.check_output("systemctl list-units --plain --no-legend '%s-*.service' | cut -d' ' -f1", app)
    expected = {unit(node["name"]) for node in nodes}
    if host.backend.host in inventory.group("beat"):
        expected.add(f"{app}-beat.service")
    assert set(found.split()) == expected


def test_each_queue_reaches_the_node_meant_for_it(nodes: list[dict], in_app: Callable, variables) -> None:
    queues = {queue for node in nodes for queue in node["queues"]}
    served = {
        queue: {node["name"] for node in variables["celery_nodes"] if queue in node["queues"]} for queue in queues
    }
    answered = in_app(
        "from app.tasks.misc import echo\n"
        f"sent = {{queue: echo.apply_async((queue,), queue=queue) for queue in {sorted(queues)!r}}}\n"
        "result = {queue: answer.get(timeout=30)['node'] for queue, answer in sent.items()}"
    )
    for queue, node in answered.items():
        assert re.sub(r"\d*@.*", "", node) in served[queue]


def test_options_and_limits_are_the_inventorys(host: Host, nodes: list[dict], unit: Callable, show: Callable) -> None:
    for node in nodes:
        main = show(unit(node["name"]), "MainPID")
        argv = host.check_output("tr '\\0' '\\n' < /proc/%s/cmdline", main).split("\n")
        assert set(node["options"]) <= set(argv)
    limits = {"MemoryMax": ("MemoryMax", "infinity"), "CPUQuota": ("CPUQuotaPerSecUSec", "infinity")}
    for node in nodes:
        for directive, (shown, unlimited) in limits.items():
            assert (show(unit(node["name"]), shown) == unlimited) == (directive not in node["limits"])


def test_log_and_pid_directories_belong_to_the_application(host: Host, app: str, nodes: list[dict]) -> None:
    for path in [f"/var/log/{app}", f"/var/lib/{app}", *(f"/run/{app}-{node['name']}" for node in nodes)]:
        directory = host.file(path)
        assert (directory.user, directory.group, directory.mode) == (app, app, 0o750), path
    for node in nodes:
        assert host.file(f"/run/{app}-{node['name']}/{node['name']}.pid").user == app
        assert host.file(f"/var/log/{app}/{node['name']}.log").exists


def test_units_are_enabled(host: Host, app: str, nodes: list[dict], unit: Callable) -> None:
    for name in [*(unit(node["name"]) for node in nodes), f"{app}-workers.target"]:
        assert host.check_output("systemctl is-enabled %s", name) == "enabled"


def test_sandbox(host: Host, app: str, nodes: list[dict], unit: Callable, inventory) -> None:
    units = [unit(node["name"]) for node in nodes]
    units += [f"{app}-beat.service"] * (host.backend.host in inventory.group("beat"))
    for name in units:
        said = host.check_output("systemd-analyze security --no-pager %s", name).splitlines()[-1]
        assert float(re.search(r"service: ([\d.]+)", said).group(1)) <= 1.0


def test_beat_fires(host: Host, inventory, in_app: Callable, wait_for: Callable) -> None:
    if host.backend.host not in inventory.group("beat"):
        pytest.skip("beat runs on another host")
    last = (
        "from app.tasks.monitor import report\n"
        "result = (report.delay().get(timeout=30)['heartbeat'] or {}).get('count', 0)"
    )
    before = in_app(last)
    wait_for(lambda: in_app(last) > before, timeout=60, what="the next heartbeat")


def test_beats_schedule_is_in_the_state_directory(host: Host, app: str, inventory) -> None:
    if host.backend.host not in inventory.group("beat"):
        pytest.skip("beat runs on another host")
    assert host.run("ls /var/lib/%s/beat-schedule*", app).rc == 0


def test_acl_refused_nothing(host: Host, redis_cli: Callable[..., str], inventory) -> None:
    if host.backend.host not in inventory.group("redis"):
        pytest.skip("Redis runs on another host")
    refused = redis_cli("ACL", "LOG")
    assert not {"key", "channel", "command"} & set(re.findall(r"reason\n(\w+)", refused)), refused


@pytest.mark.destructive
def test_a_killed_node_is_back(
    host: Host, nodes: list[dict], unit: Callable, show: Callable, answers: Callable, wait_for: Callable
) -> None:
    node = nodes[0]["name"]
    before = show(unit(node), "MainPID")
    host.check_output("kill -9 %s", before)
    wait_for(lambda: show(unit(node), "MainPID") not in ("0", before), what="a new main process")
    wait_for(lambda: node in answers(), what=f"{node}'s answer")


@pytest.mark.destructive
def test_stop_waits_for_the_running_task(
    host: Host, in_app: Callable, crawl: Callable, unit: Callable, show: Callable
) -> None:
    """The site answers after four seconds; a stop that comes meanwhile lets the crawl finish and keep its result."""
    task, _ = crawl(4)
    state = f"from celery.result import AsyncResult\nresult = AsyncResult({task!r}, app=app)\n"
    host.check_output("systemctl stop %s", unit("crawler"))
    assert in_app(state + "result = [result.state, len((result.result or {}).get('pages', []))]") == ["SUCCESS", 1]
    assert show(unit("crawler"), "Result") == "success"
    host.check_output("systemctl start %s", unit("crawler"))


@pytest.mark.destructive
def test_target_stops_and_starts_all_nodes(
    host: Host, app: str, nodes: list[dict], answers: Callable, wait_for: Callable
) -> None:
    host.check_output("systemctl stop %s-workers.target", app)
    listed = "systemctl list-units --plain --no-legend --state=active '%s-worker@*' | wc -l"
    wait_for(lambda: host.check_output(listed, app) == "0", what="the stop of all nodes")
    host.check_output("systemctl start %s-workers.target", app)
    wait_for(lambda: set(answers()) == {node["name"] for node in nodes}, what="all nodes' answers")


@pytest.mark.destructive
def test_rotation_loses_no_line(host: Host, app: str, in_app: Callable, wait_for: Callable) -> None:
    def crawls(count: int) -> list[str]:
        return in_app(
            "from app.tasks.misc import echo\n"
            f"sent = [echo.apply_async(('x',), queue='crawl_queue') for _ in range({count})]\n"
            "[answer.get(timeout=30) for answer in sent]\nresult = [answer.id for answer in sent]"
        )

    before = crawls(20)
    host.check_output("logrotate --force /etc/logrotate.d/%s", app)
    after = crawls(20)
    fresh = f"/var/log/{app}/crawler.log"
    wait_for(lambda: all(task in host.file(fresh).content_string for task in after), what="the lines in the new file")
    logged = host.check_output("cat %s %s.1", fresh, fresh)
    assert [task for task in before + after if f"[{task}] received" not in logged] == []
    assert host.file(fresh).mode == 0o640
    assert host.file(fresh).user == app


@pytest.fixture(scope="module")
def changes(host: Host, converge: Callable, variables, nodes: list[dict], app: str) -> list[dict[str, str]]:
    """Node -> its main process: before two runs, between them and after them.

    The first has one node more, and another concurrency for the inventory's first; the second has neither. Before it,
    another run wrote a file of the inventory's second node and died before the restart.
    """

    def pids() -> dict[str, str]:
        shown = "systemctl show --value --property=MainPID %s-worker@%s.service"
        return {name: host.check_output(shown, app, name) for name in [*(node["name"] for node in nodes), "passing"]}

    fleet = [dict(node) for node in variables["celery_nodes"]]
    fleet[0]["concurrency"] = 3
    seen = [pids()]
    there = converge(celery_nodes=[*fleet, {"name": "passing", "queues": ["default"], "concurrency": 1}])
    assert there.returncode == 0, there.output
    seen.append(pids())
    host.check_output("touch /etc/systemd/system/%s-worker@%s.service.d/node.conf", app, nodes[1]["name"])
    gone = converge()
    assert gone.returncode == 0, gone.output
    return [*seen, pids()]


def restarted(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The nodes whose main process is another."""
    return {name for name in before if before[name] != after[name]}


@pytest.mark.destructive
def test_a_node_that_left_the_inventory_is_gone(host: Host, app: str, changes: list[dict], unit: Callable) -> None:
    assert changes[1]["passing"] != "0"
    assert changes[2]["passing"] == "0"
    assert not host.service(unit("passing")).is_running
    assert host.check_output("systemctl show --value --property=UnitFileState %s", unit("passing")) == "disabled"
    assert not host.file(f"/etc/systemd/system/{unit('passing')}.d").exists
    assert not host.file(f"/etc/systemd/system/{app}-workers.target.wants/{unit('passing')}").exists
    assert host.run("journalctl --no-pager --unit=%s | grep -q 'Deactivated successfully'", unit("passing")).rc == 0


@pytest.mark.destructive
def test_only_what_changed_is_restarted(changes: list[dict], nodes: list[dict]) -> None:
    assert restarted(changes[0], changes[1]) == {nodes[0]["name"], "passing"}


@pytest.mark.destructive
def test_a_restart_that_was_interrupted_is_made_up_for(
    changes: list[dict], nodes: list[dict], host: Host, unit: Callable
) -> None:
    """A run that wrote files and died before the restart leaves nothing that the next run doesn't see."""
    assert restarted(changes[1], changes[2]) == {nodes[0]["name"], nodes[1]["name"], "passing"}
    assert all(host.service(unit(node["name"])).is_running for node in nodes)


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
def test_a_node_that_does_not_come_up_fails_the_play_with_its_log(converge: Callable, change: dict, said: str) -> None:
    broken = converge(celery_ready_timeout=5, **change)
    assert broken.returncode != 0
    assert said in broken.output
    assert "put back" in broken.output
    mended = converge()
    assert mended.returncode == 0, mended.output


@pytest.mark.destructive
def test_everything_is_back_after_a_restart_of_the_host(
    host: Host, app: str, nodes: list[dict], answers: Callable, wait_for: Callable, variables
) -> None:
    booted = host.check_output("systemctl show --value --property=UserspaceTimestampMonotonic")
    container = host.backend.get_variables()["ansible_host"]
    local = host.get_host("local://")
    local.check_output("docker restart -t 60 %s", container)
    wait_for(
        lambda: host.run("systemctl is-system-running --wait").stdout.strip() == "running", timeout=60, what="boot"
    )
    assert host.check_output("systemctl show --value --property=UserspaceTimestampMonotonic") != booted
    wait_for(lambda: set(answers()) == {node["name"] for node in nodes}, timeout=60, what="all nodes' answers")
    for node in nodes:
        assert host.file(f"/run/{app}-{node['name']}").user == app
