"""The celery role's files, rendered from the inventories' variables, read by systemd's, Celery's, logrotate's rules."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import units
from celery import Celery
from celery.apps import multi
from celery.bin.base import CLIContext
from celery.bin.worker import worker
from harness import ENVIRONMENTS, File, Inventory, defaults, files

CONTEXT = CLIContext(app=Celery(set_as_current=False), no_color=True, workdir=None)
WORKERS = [
    (environment, host)
    for environment in ENVIRONMENTS
    for host in Inventory(f"inventories/{environment}").groups["workers"]
]
EVERY_WORKER = pytest.mark.parametrize(("environment", "host"), WORKERS)
SYSTEMD_ANALYZE = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")

Rendered = dict[str, File]


def rendered(environment: str, host: str, **more: Any) -> tuple[Inventory, Rendered]:
    inventory = Inventory(f"inventories/{environment}")
    return inventory, files(inventory, "celery", host, **more)


def drop_ins(found: Rendered) -> dict[str, units.Unit]:
    """Node -> its drop-in."""
    pattern = re.compile(r"/etc/systemd/system/chatlite-worker@(\w+)\.service\.d/node\.conf")
    return {match[1]: units.parse(file.content) for path, file in found.items() if (match := pattern.fullmatch(path))}


def unit(found: Rendered, name: str) -> units.Unit:
    return units.parse(found[f"/etc/systemd/system/{name}"].content)


@pytest.fixture(autouse=True)
def _no_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    """``celery multi`` makes the directories of PID and log files as it reads its arguments."""
    monkeypatch.setattr(multi.os, "makedirs", lambda *_args: None)


def node_of(arguments: list[str]) -> multi.Node:
    """The one node that ``celery multi`` understands by the arguments after its verb."""
    options = multi.NamespacedOptionParser(arguments)
    options.parse()
    assert options.namespaces == {}
    (node,) = multi.MultiParser(cmd="celery worker", append="", suffix="host").parse(options)
    return node


# -- nodes


@EVERY_WORKER
def test_each_node_of_the_inventory_has_a_drop_in(environment: str, host: str) -> None:
    inventory, found = rendered(environment, host)
    nodes = inventory.evaluate(host, f"celery_nodes | celery_host_nodes('{host}')")
    assert nodes
    assert set(drop_ins(found)) == {node["name"] for node in nodes}


@EVERY_WORKER
def test_celery_multi_starts_one_node_with_the_inventorys_options(environment: str, host: str) -> None:
    inventory, found = rendered(environment, host)
    nodes = {node["name"]: node for node in inventory.evaluate(host, f"celery_nodes | celery_host_nodes('{host}')")}
    for name, drop_in in drop_ins(found).items():
        program, *arguments = units.command(units.last(drop_in, "Service", "ExecStart"), name)
        assert program == "/opt/chatlite/current/.venv/bin/celery"
        assert arguments[:4] == ["-A", inventory.evaluate(host, "celery_app"), "multi", "start"]
        node = node_of(arguments[4:])
        assert node.name == f"{name}@host"
        assert node.pidfile == f"/run/chatlite-{name}/{name}.pid"
        assert node.logfile == f"/var/log/chatlite/{name}%I.log"
        given = [f"{option}={value}" for option, value in node.options.items() if option.startswith("--")]
        assert set(nodes[name]["options"]) <= set(given)
        options = [option for option in given if not option.startswith("--executable=")]
        params = worker.make_context("worker", options, obj=CONTEXT).params
        assert params["queues"] == nodes[name]["queues"]
        assert params["statedb"] == "/var/lib/chatlite/%n.state"


@EVERY_WORKER
def test_unit_and_celery_mean_the_same_pid_file(environment: str, host: str) -> None:
    """And a stop needs no application: one that can't be imported could not be stopped otherwise."""
    _, found = rendered(environment, host)
    template = unit(found, "chatlite-worker@.service")
    for name in drop_ins(found):
        _, *arguments = units.command(units.last(template, "Service", "ExecStop"), name)
        assert arguments[:2] == ["multi", "stopwait"]
        assert "-A" not in arguments
        stopped = node_of(arguments[2:])
        (pidfile,) = units.command(units.last(template, "Service", "PIDFile"), name)
        assert stopped.pidfile == pidfile == f"/run/chatlite-{name}/{name}.pid"
        (runtime,) = units.command(units.last(template, "Service", "RuntimeDirectory"), name)
        assert pidfile.startswith(f"/run/{runtime}/")


@pytest.mark.parametrize(
    ("node", "directive", "value"),
    [
        ({"memory_max": "2G"}, "MemoryMax", "2G"),
        ({"cpu_quota": "150%"}, "CPUQuota", "150%"),
        ({"stop_timeout": 7}, "TimeoutStopSec", "7"),
        ({}, "TimeoutStopSec", "660"),
    ],
)
def test_limits_stand_in_the_drop_in(node: dict[str, Any], directive: str, value: str) -> None:
    nodes = [{"name": "with_under_score", "queues": ["q"], **node}]
    _, found = rendered("development", "dev1", celery_nodes=nodes)
    assert units.last(drop_ins(found)["with_under_score"], "Service", directive) == value


@pytest.mark.parametrize(("node", "level"), [({}, "info"), ({"loglevel": "debug"}, "debug")])
def test_the_log_level_is_the_nodes_or_the_roles(node: dict[str, Any], level: str) -> None:
    _, found = rendered("development", "dev1", celery_nodes=[{"name": "a_1", "queues": ["q"], **node}])
    start = units.command(units.last(drop_ins(found)["a_1"], "Service", "ExecStart"), "a_1")
    assert f"--loglevel={level}" in start


def test_a_node_with_underscores_is_one_node() -> None:
    _, found = rendered("development", "dev1", celery_nodes=[{"name": "a_b_2", "queues": ["q:1", "x.y-z"]}])
    start = units.command(units.last(drop_ins(found)["a_b_2"], "Service", "ExecStart"), "a_b_2")
    assert node_of(start[5:]).name == "a_b_2@host"
    assert "--queues=q:1,x.y-z" in start


def test_a_queue_with_a_percent_sign_is_refused() -> None:
    with pytest.raises(Exception, match="has the queue '50%'"):
        rendered("development", "dev1", celery_nodes=[{"name": "a", "queues": ["50%"]}])


# -- units


@EVERY_WORKER
def test_beat_runs_where_the_inventory_says(environment: str, host: str) -> None:
    inventory, found = rendered(environment, host)
    beats = "/etc/systemd/system/chatlite-beat.service" in found
    assert beats is (host in inventory.groups["beat"])


def test_beat_keeps_its_schedule_and_needs_no_pid_file() -> None:
    _, found = rendered("development", "dev1")
    start = units.command(units.last(unit(found, "chatlite-beat.service"), "Service", "ExecStart"), "")
    assert start[3] == "beat"
    assert {"--schedule=/var/lib/chatlite/beat-schedule", "--pidfile="} <= set(start)


def test_nodes_stop_and_start_with_the_target() -> None:
    _, found = rendered("development", "dev1")
    template = unit(found, "chatlite-worker@.service")
    assert units.last(template, "Unit", "PartOf") == "chatlite-workers.target"
    assert units.last(template, "Install", "WantedBy") == "chatlite-workers.target"
    assert units.last(unit(found, "chatlite-workers.target"), "Install", "WantedBy") == "multi-user.target"


def test_nodes_are_restarted_whatever_happens_and_never_given_up() -> None:
    _, found = rendered("development", "dev1")
    for name in ("chatlite-worker@.service", "chatlite-beat.service"):
        assert units.last(unit(found, name), "Service", "Restart") == "always"
        assert units.last(unit(found, name), "Unit", "StartLimitIntervalSec") == "0"


def test_no_unit_holds_a_variable_or_password() -> None:
    """Every user may read them, with systemctl show."""
    _, found = rendered("development", "dev1")
    for file in found.values():
        assert not re.search(r"^Environment=|redis://", file.content, re.M)


@pytest.fixture
def systemd(tmp_path: Path) -> dict[str, str]:
    """The rendered units where systemd-analyze looks for them, with a program that exists."""
    _, found = rendered("development", "dev1")
    for path, file in found.items():
        if path.startswith("/etc/systemd/system/"):
            target = tmp_path / path.removeprefix("/etc/systemd/system/")
            target.parent.mkdir(exist_ok=True)
            target.write_text(file.content.replace("/opt/chatlite/current/.venv/bin/celery", "/usr/bin/true"))
    return {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "directory": str(tmp_path)}


def analyze(systemd: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], env=systemd, text=True, capture_output=True, check=False)


UNITS = ("chatlite-worker@crawler.service", "chatlite-beat.service", "chatlite-workers.target")


@SYSTEMD_ANALYZE
def test_systemd_has_nothing_to_say_about_the_units(systemd: dict[str, str]) -> None:
    done = analyze(systemd, "verify", "--man=no", *(f"{systemd['directory']}/{name}" for name in UNITS))
    ours = [line for line in done.stderr.splitlines() if "chatlite" in line]
    assert ours == []


@SYSTEMD_ANALYZE
def test_systemd_would_have_said_something(systemd: dict[str, str]) -> None:
    beat = Path(systemd["directory"], "chatlite-beat.service")
    beat.write_text(beat.read_text().replace("Restart=always", "Restart=allways"))
    done = analyze(systemd, "verify", "--man=no", str(beat))
    assert "chatlite-beat.service" in done.stderr
    assert "allways" in done.stderr


@SYSTEMD_ANALYZE
@pytest.mark.parametrize("name", ["chatlite-worker@crawler.service", "chatlite-beat.service"])
def test_exposure_is_at_most_1_2(systemd: dict[str, str], name: str) -> None:
    path = f"{systemd['directory']}/{name}"
    done = analyze(systemd, "security", "--offline=true", "--threshold=12", "--no-pager", path)
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


# -- log rotation


def logrotate(text: str) -> dict[str, list[str]]:
    """Glob -> its directives, by logrotate's grammar: a glob, then directives in braces, a line each."""
    bare = "".join(line + "\n" for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert re.fullmatch(r"\s*(/\S+ \{\n(    [a-z]+( \S+)*\n)+\}\n\s*)+", bare)
    return {
        match[1]: [line.strip() for line in match[2].strip().splitlines()]
        for match in re.finditer(r"(/\S+) \{\n(.*?)\}", bare, re.S)
    }


@EVERY_WORKER
def test_logs_of_nodes_children_and_beat_are_rotated_by_name(environment: str, host: str) -> None:
    _, found = rendered(environment, host)
    ((glob, directives),) = logrotate(found["/etc/logrotate.d/chatlite"].content).items()
    assert glob == "/var/log/chatlite/*.log"
    assert {
        "su chatlite chatlite",
        "create 0640 chatlite chatlite",
        f"rotate {defaults('celery')['celery_log_rotations']}",
    } <= set(directives)
    assert not {"copytruncate", "nocreate"} & set(directives)
