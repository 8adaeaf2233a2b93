"""Deployments while tasks run: no task is lost, and a release that can't run doesn't."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live import Inventory
from load import Ledger
from testinfra.host import Host

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("back_to_one")]

ROOT = Path(__file__).resolve().parents[3]


def main_pids(workers: dict[str, Host], app: str) -> dict[str, str]:
    """Host -> the main processes of its nodes and of beat."""
    shown = "systemctl show --value --property=MainPID '%s-worker@*' '%s-beat.service'"
    return {name: worker.check_output(shown, app, app) for name, worker in workers.items()}


def test_a_deployment_under_load_loses_nothing(
    load: Callable, ledger: Ledger, deploy: Callable, source: Callable, releases: Callable, wait_for: Callable
) -> None:
    with load(rate=140) as running:
        wait_for(lambda: len(ledger.numbers()) > 300, what="the first tasks")
        done = deploy(**source("two"))
        assert done.returncode == 0, done.output
        after = len(running.submitted) + 300
        wait_for(lambda: len(running.submitted) >= max(after, 10_000), timeout=120, what="10,000 tasks")
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=60, what="every task")
    report = ledger.report(count)
    print(f"\nrolling deployment: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert report.releases["one"] > 300
    assert report.releases["two"] > 300
    assert set(releases().values()) == {"two"}


def test_a_deployment_of_what_is_there_changes_nothing(deploy: Callable, workers: dict[str, Host], app: str) -> None:
    before = main_pids(workers, app)
    done = deploy()
    assert done.returncode == 0, done.output
    assert set(done.changed.values()) == {0}
    assert main_pids(workers, app) == before


BROKEN = {
    "crashes on import": (
        {"replacements": [("import redis\n", "import redis\nimport nothing_such\n")]},
        r"Release \w{12} isn't used, the running one is untouched: importing ledger failed: "
        r"ModuleNotFoundError: No module named 'nothing_such'",
    ),
    "registers no task": (
        {
            "replacements": [
                ('@app.task(name="ledger.work", max_retries=20)', ""),
                ('@app.task(name="ledger.tick")', ""),
            ]
        },
        r"isn't used, the running one is untouched: ledger registers no task",
    ),
    "needs what doesn't exist": (
        {"requirements": "celery[redis]==5.7.0\nno-such-package-as-this==1.0\n"},
        r"no-such-package-as-this",
    ),
    "never answers": (
        {
            "replacements": [
                (
                    "@cache\n",
                    "from celery.signals import worker_init\n\n\n@worker_init.connect\ndef hang(**_: object) -> None:\n"
                    "    time.sleep(3600)\n\n\n@cache\n",
                )
            ]
        },
        r"Release \w{12} failed on worker\d: .*\n\s+Release \w{12} was put back on worker\d: 2 of 2 nodes answer again",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_is_stopped_and_the_old_one_serves_throughout(
    how: str, load: Callable, ledger: Ledger, deploy: Callable, source: Callable, releases: Callable, wait_for: Callable
) -> None:
    changes, said = BROKEN[how]
    broken = source("broken", *changes.get("replacements", []), requirements=changes.get("requirements", ""))
    with load(rate=60) as running:
        wait_for(lambda: len(ledger.numbers()) > 60, what="the first tasks")
        done = deploy(celery_ready_timeout=10, **broken)
        before = len(running.submitted)
        wait_for(lambda: len(running.submitted) > before + 60, what="more tasks")
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=60, what="every task")
    report = ledger.report(count)
    print(f"\na release that {how}: {report}\n{tail(done.output)}")
    assert done.returncode != 0
    assert re.search(said, done.output)
    assert (report.lost, report.twice) == ([], [])
    assert set(report.releases) == {"one"}
    assert set(releases().values()) == {"one"}


def tail(output: str) -> str:
    """The message that a person sees."""
    found = re.search(r"^(fatal: .*?)(?=^fatal:|^PLAY RECAP)", output, re.M | re.S)
    return found[1] if found else output[-2000:]


def test_a_broken_release_stops_before_the_next_host(deploy: Callable, source: Callable) -> None:
    replacements = BROKEN["never answers"][0]["replacements"]
    done = deploy(celery_ready_timeout=5, **source("broken", *replacements))
    assert done.returncode != 0
    assert len(set(re.findall(r"failed on (worker\d)", done.output))) == 1


def test_a_configuration_that_breaks_nodes_is_put_back_too(
    deploy: Callable, workers: dict[str, Host], app: str, variables: Any
) -> None:
    """Not the release but a unit is wrong, and with it comes an environment: both go."""
    paths = [f"/etc/{app}/{app}.env", f"/etc/systemd/system/{app}-worker@quick.service.d/node.conf"]
    before = {name: [worker.file(path).content_string for path in paths] for name, worker in workers.items()}
    nodes = [{**node, "memory_max": "20M"} for node in variables["celery_nodes"]]
    done = deploy(celery_ready_timeout=5, celery_nodes=nodes, app_settings={"LEDGER_NEW": "1"})
    assert done.returncode != 0
    assert "The previous configuration was put back on worker1: 2 of 2 nodes answer again." in done.output
    assert {name: [worker.file(path).content_string for path in paths] for name, worker in workers.items()} == before


def test_beat_comes_last_and_never_runs_twice(
    broker: Any, app: str, deploy: Callable, source: Callable, wait_for: Callable
) -> None:
    """It ticks each second: two of them would tick twice."""
    ticks = Ledger(broker, app, "ticks")
    ticks.clear()
    wait_for(lambda: len(ticks.lines()) > 3, what="ticks of the old beat")
    done = deploy(**source("two"))
    assert done.returncode == 0, done.output
    after = len(ticks.lines())
    wait_for(lambda: len(ticks.lines()) > after + 3, what="ticks of the new beat")
    lines = ticks.lines()
    assert len(lines) <= lines[-1].time - lines[0].time + 2
    assert [line.release for line in lines[-3:]] == ["two"] * 3


# -- going back


@pytest.fixture
def rollback(playbook: Callable) -> Callable:
    return lambda **variables: playbook("playbooks/rollback.yml", **variables)


def test_rollback_goes_to_the_release_before_and_forth_again(
    deploy: Callable,
    rollback: Callable,
    source: Callable,
    releases: Callable,
    load: Callable,
    ledger: Ledger,
    wait_for: Callable,
) -> None:
    assert deploy(**source("two")).returncode == 0
    with load(rate=50) as running:
        wait_for(lambda: len(ledger.numbers()) > 50, what="the first tasks")
        back = rollback()
        assert back.returncode == 0, back.output
    assert set(releases().values()) == {"one"}
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=60, what="every task")
    report = ledger.report(count)
    print(f"\nrollback: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert rollback().returncode == 0
    assert set(releases().values()) == {"two"}


def test_rollback_to_a_release_that_nobody_has_is_refused(rollback: Callable) -> None:
    done = rollback(rollback_release="0123456789ab")
    assert done.returncode != 0
    assert "The release '0123456789ab' isn't on worker1, worker2" in " ".join(done.output.split())
    assert set(done.changed.values()) == {0}


# -- what a deployment needs once


def test_the_command_runs_once_on_one_host_before_any_is_switched(
    deploy: Callable, source: Callable, workers: dict[str, Host], app: str
) -> None:
    path = f"/var/log/{app}/migrated"
    for worker in workers.values():
        worker.run("rm -f %s", path)
    command = [
        "sh",
        "-c",
        f"readlink /opt/{app}/current >> {path}; pwd >> {path}; echo $CELERY_GLOBAL_KEYPREFIX >> {path}",
    ]
    new = source("two")
    for _ in range(2):
        done = deploy(app_deploy_command=command, **new)
        assert done.returncode == 0, done.output
    written = [worker.file(path).content_string.split() for worker in workers.values() if worker.file(path).exists]
    assert len(written) == 1
    old, directory, prefix = written[0]
    assert old != directory
    assert prefix == f"{app}:"


def test_a_command_that_fails_stops_the_deployment(deploy: Callable, source: Callable, releases: Callable) -> None:
    done = deploy(app_deploy_command=["sh", "-c", "echo no such table; exit 3"], **source("two"))
    assert done.returncode != 0
    assert "ended with 3:" in done.output
    assert "no such table" in done.output
    assert set(releases().values()) == {"one"}


# -- interrupted


@pytest.mark.parametrize("at", ["Build the release", "Switch environment", "Bring the nodes", "beat | Run it"])
def test_an_interrupted_deployment_is_made_up_for(
    at: str,
    inventory: Inventory,
    deploy: Callable,
    source: Callable,
    releases: Callable,
    workers: dict[str, Host],
    app: str,
) -> None:
    """Ansible is killed in the middle; the next run of the same deployment ends it."""
    new = source("two")
    kill_at(at, inventory, new)
    done = deploy(**new)
    assert done.returncode == 0, done.output
    assert set(releases().values()) == {"two"}
    for worker in workers.values():
        running = worker.check_output("for p in $(pgrep -u %s); do readlink /proc/$p/cwd; done | sort -u", app)
        assert running.split() == [worker.file(f"/opt/{app}/current").linked_to]
        assert not worker.file(f"/var/lib/celeriac/{app}/undo").exists
    again = deploy(**new)
    assert set(again.changed.values()) == {0}


def kill_at(task: str, inventory: Inventory, variables: dict[str, Any]) -> None:
    """Kill a deployment, with all its processes, when it announces ``task`` for the last host."""
    command = [
        "ansible-playbook",
        "-i",
        inventory.path,
        str(ROOT / "playbooks/deploy.yml"),
        "-e",
        json.dumps(variables),
    ]
    environ = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = []
        switching = False
        for line in process.stdout:
            said.append(line)
            switching = switching or "PLAY [Nodes, host by host]" in line or task == "Build the release"
            if switching and line.startswith("TASK") and task in line:
                break
        else:
            pytest.fail(f"{task} was never announced:\n{''.join(said)}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


# -- retention


def test_old_releases_go_and_the_one_before_stays(
    deploy: Callable, source: Callable, workers: dict[str, Host], app: str, rollback: Callable, releases: Callable
) -> None:
    for name in ("two", "three"):
        done = deploy(app_keep_releases=2, **source(name))
        assert done.returncode == 0, done.output
    for worker in workers.values():
        assert len(worker.check_output("ls /opt/%s/releases", app).split()) == 2
    assert rollback().returncode == 0
    assert set(releases().values()) == {"two"}
