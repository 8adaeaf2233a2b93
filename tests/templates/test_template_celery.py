"""The celery role's files, rendered from the inventories' variables, read by systemd's, Celery's, logrotate's rules."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import systemd_sandbox

from tests.support import units
from tests.support.celery_worker import accepted, accepted_by_beat, node_of, started
from tests.support.harness import ENVIRONMENTS, ROOT, File, Inventory, defaults, files

WORKERS = [
    (environment, host)
    for environment in ENVIRONMENTS
    for host in Inventory(f"inventories/{environment}").groups["workers"]
]
EVERY_WORKER = pytest.mark.parametrize(("environment", "host"), WORKERS)
SYSTEMD_ANALYZE = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")

LIBRARY = "/usr/local/lib/celeriac"
PROGRAMS = ROOT / f"roles/celery/files{LIBRARY}"

Rendered = dict[str, File]


def rendered(environment: str, host: str, **more: Any) -> tuple[Inventory, Rendered]:
    inventory = Inventory(f"inventories/{environment}")
    return inventory, files(inventory, "celery", host, **more)


def drop_ins(found: Rendered) -> dict[str, units.Unit]:
    """Node -> its drop-in."""
    pattern = re.compile(r"/etc/systemd/system/chatlite-worker@(\w+)\.service\.d/node\.conf")
    return {match[1]: units.parse(file.content) for path, file in found.items() if (match := pattern.fullmatch(path))}


def start(drop_in: units.Unit, name: str) -> list[str]:
    """The command by which a node is started, without the program that puts LIBRARY on its PYTHONPATH."""
    shell, program, *command = units.command(units.last(drop_in, "Service", "ExecStart"), name)
    assert (shell, program) == ("/bin/sh", f"{LIBRARY}/celeriac_start.sh")
    return command


def stop(drop_in: units.Unit, name: str) -> list[str]:
    """What the program that stops a node is given: signals, and the seconds that each gets."""
    value = units.last(drop_in, "Service", "ExecStop")
    assert value.startswith("-")  # systemd goes on where it fails
    shell, program, *steps = units.command(value.removeprefix("-"), name)
    assert (shell, program) == ("/bin/sh", f"{LIBRARY}/celeriac_stop.sh")
    return steps


def unit(found: Rendered, name: str) -> units.Unit:
    return units.parse(found[f"/etc/systemd/system/{name}"].content)


# -- nodes


@EVERY_WORKER
def test_each_node_of_the_inventory_has_a_drop_in(environment: str, host: str) -> None:
    inventory, found = rendered(environment, host)
    nodes = inventory.evaluate(host, f"celery_nodes | celeriac.fleet.celery_host_nodes('{host}')")
    assert nodes
    assert set(drop_ins(found)) == {node["name"] for node in nodes}


@EVERY_WORKER
def test_celery_multi_starts_one_node_with_the_inventorys_options(environment: str, host: str) -> None:
    inventory, found = rendered(environment, host)
    expanded = inventory.evaluate(host, f"celery_nodes | celeriac.fleet.celery_host_nodes('{host}')")
    nodes = {node["name"]: node for node in expanded}
    for name, drop_in in drop_ins(found).items():
        program, *arguments = start(drop_in, name)
        assert [program, *arguments[:2]] == ["/opt/chatlite/current/.venv/bin/celery", "multi", "start"]
        node = node_of(arguments[2:])
        assert node.name == f"{name}@host"
        assert node.pidfile == f"/run/chatlite-{name}/{name}.pid"
        assert node.logfile == f"/var/log/chatlite/{name}%I.log"
        before, after = started(node)
        assert before == [f"--app={inventory.evaluate(host, 'celery_app')}"]
        assert set(nodes[name]["options"]) <= set(after)
        params, settings = accepted(after)
        assert params["queues"] == nodes[name]["queues"]
        assert params["statedb"] == f"/var/lib/chatlite/{name}.state"
        assert settings == {"worker_soft_shutdown_timeout": defaults("celery")["celery_soft_shutdown_timeout"]}


@EVERY_WORKER
def test_unit_and_celery_mean_the_same_pid_file(environment: str, host: str) -> None:
    _, found = rendered(environment, host)
    template = unit(found, "chatlite-worker@.service")
    for name, drop_in in drop_ins(found).items():
        node = node_of(start(drop_in, name)[3:])
        (pidfile,) = units.command(units.last(template, "Service", "PIDFile"), name)
        assert node.pidfile == pidfile == f"/run/chatlite-{name}/{name}.pid"
        (runtime,) = units.command(units.last(template, "Service", "RuntimeDirectory"), name)
        assert pidfile.startswith(f"/run/{runtime}/")


def one_node(**keys: Any) -> tuple[Rendered, units.Unit]:
    """The files and the drop-in of a node with these keys."""
    _, found = rendered("development", "dev1", celery_nodes=[{"name": "a_1", "queues": ["q"], **keys}])
    return found, drop_ins(found)["a_1"]


def test_a_stop_is_sigterm_then_sigquit() -> None:
    """What the program makes of it is in tests/unit/roles/test_celery_programs.py."""
    _, drop_in = one_node(stop_timeout=60)
    assert stop(drop_in, "a_1") == ["TERM", "60", "QUIT", "40"]


def test_a_stop_needs_no_application_and_no_celery() -> None:
    found, drop_in = one_node()
    for parsed in (drop_in, unit(found, "chatlite-worker@.service")):
        stops = [value for name, value in parsed["Service"] if name.startswith("ExecStop")]
        assert not any("celery" in value for value in stops)


@pytest.mark.parametrize(
    ("keys", "directive", "value"),
    [({}, "KillSignal", "SIGQUIT"), ({"pool": "solo"}, "KillSignal", "SIGKILL"), ({}, "TimeoutStopSec", "710")],
)
def test_systemd_never_cuts_a_stop_short(keys: dict[str, Any], directive: str, value: str) -> None:
    """And a node with the pool solo, which can't hand its task back, isn't asked to."""
    _, drop_in = one_node(**keys)
    assert units.last(drop_in, "Service", directive) == value
    steps = stop(drop_in, "a_1")
    assert ("QUIT" in steps) is (value != "SIGKILL")
    waits = [int(word) for word in steps if word.isdigit()]
    assert int(units.last(drop_in, "Service", "TimeoutStopSec")) > sum(waits)


def test_environments_of_two_applications_do_not_meet() -> None:
    """Also where the applications' own environment files stand in one directory."""
    nodes = [{"name": "a", "queues": ["q"], "environment": {"TOKEN": "hush"}}]
    found = [
        rendered(
            "development", "dev1", celery_nodes=nodes, app_name=name, celery_environment_file=f"/etc/default/{name}"
        )
        for name in ("shop", "ledger")
    ]
    paths = [[path for path in files if path.endswith(".env")] for _, files in found]
    assert paths == [["/etc/shop/worker@a.env"], ["/etc/ledger/worker@a.env"]]


def test_environments_of_nodes_are_files_of_their_own() -> None:
    nodes = [
        {"name": "a", "queues": ["q"], "environment": {"TOKEN": "hush"}, "events": False},
        {"name": "b", "queues": ["q"]},
    ]
    _, found = rendered("development", "dev1", celery_nodes=nodes)
    file = found["/etc/chatlite/worker@a.env"]
    assert (file.content, file.owner, file.group, file.mode) == ('TOKEN="hush"\n', "root", "chatlite", "0640")
    assert [path for path in found if path.endswith(".env")] == ["/etc/chatlite/worker@a.env"]
    assert [path for path, one in found.items() if "hush" in one.content] == ["/etc/chatlite/worker@a.env"]
    a, b = drop_ins(found)["a"], drop_ins(found)["b"]
    assert units.last(a, "Service", "EnvironmentFile") == "/etc/chatlite/worker@%i.env"
    assert "EnvironmentFile" not in dict(b["Service"])
    _, settings = accepted(started(node_of(start(a, "a")[3:]))[1])
    assert settings["worker_send_task_events"] is False


@pytest.mark.parametrize(
    ("node", "directive", "value"),
    [
        ({"memory_max": "2G"}, "MemoryMax", "2G"),
        ({"cpu_quota": "150%"}, "CPUQuota", "150%"),
        ({"nice": 5}, "Nice", "5"),
    ],
)
def test_limits_stand_in_the_drop_in(node: dict[str, Any], directive: str, value: str) -> None:
    nodes = [{"name": "with_under_score", "queues": ["q"], **node}]
    _, found = rendered("development", "dev1", celery_nodes=nodes)
    assert units.last(drop_ins(found)["with_under_score"], "Service", directive) == value


@pytest.mark.parametrize(("node", "level"), [({}, "info"), ({"loglevel": "debug"}, "debug")])
def test_the_log_level_is_the_nodes_or_the_roles(node: dict[str, Any], level: str) -> None:
    _, found = rendered("development", "dev1", celery_nodes=[{"name": "a_1", "queues": ["q"], **node}])
    assert f"--loglevel={level}" in start(drop_ins(found)["a_1"], "a_1")


def test_a_node_with_underscores_is_one_node() -> None:
    _, found = rendered("development", "dev1", celery_nodes=[{"name": "a_b_2", "queues": ["q:1", "x.y-z"]}])
    command = start(drop_ins(found)["a_b_2"], "a_b_2")
    assert node_of(command[3:]).name == "a_b_2@host"
    assert "--queues=q:1,x.y-z" in command


def test_a_queue_with_a_percent_sign_is_refused() -> None:
    with pytest.raises(Exception, match=r"has queues\[0\] '50%'"):
        rendered("development", "dev1", celery_nodes=[{"name": "a", "queues": ["50%"]}])


# -- units


@EVERY_WORKER
def test_beat_runs_where_the_inventory_says(environment: str, host: str) -> None:
    inventory, found = rendered(environment, host)
    beats = "/etc/systemd/system/chatlite-beat.service" in found
    assert beats is (host in inventory.groups["beat"])


def beat(**variables: Any) -> tuple[units.Unit, list[str]]:
    """Beat's unit and what it starts."""
    parsed = unit(rendered("development", "dev1", **variables)[1], "chatlite-beat.service")
    return parsed, units.command(units.last(parsed, "Service", "ExecStart"), "")


def test_beat_keeps_its_schedule_and_needs_no_pid_file() -> None:
    _, start = beat()
    assert start[:4] == ["/opt/chatlite/current/.venv/bin/python", "-P", f"{LIBRARY}/celeriac_beat.py", "text"]
    params = accepted_by_beat(start[start.index("beat") + 1 :])
    assert params["schedule"] == "/var/lib/chatlite/beat-schedule"
    assert params["scheduler"] == defaults("celery")["celery_beat_scheduler"]
    assert params["logfile"] == "/var/log/chatlite/beat.log"
    assert not params["pidfile"]
    assert params["max_interval"] is None


def test_beat_with_a_lock_looks_up_in_time_for_a_standby() -> None:
    _, start = beat(celery_beat_scheduler="redbeat.RedBeatScheduler", celery_beat_takeover_timeout=20)
    params = accepted_by_beat(start[start.index("beat") + 1 :])
    assert params["scheduler"] == "redbeat.RedBeatScheduler"
    assert params["max_interval"] == 3  # the lock lasts 15 s, and is looked at each 3 s


def test_systemd_waits_for_beats_first_pass() -> None:
    parsed, _ = beat()
    assert units.last(parsed, "Service", "Type") == "notify"


# -- logs


def test_in_the_journal_a_node_runs_in_the_foreground_with_the_same_options() -> None:
    _, in_files = rendered("development", "dev1")
    _, found = rendered("development", "dev1", celery_log_to="journal")
    template = unit(found, "chatlite-worker@.service")
    assert units.last(template, "Service", "Type") == "exec"
    assert units.last(template, "Service", "KillMode") == "mixed"  # or SIGTERM would fail the pool's tasks
    assert units.last(template, "Service", "LogRateLimitIntervalSec") == "0"
    for name, drop_in in drop_ins(found).items():
        program, *words = start(drop_in, name)
        assert [program, *words[:3]] == [
            "/opt/chatlite/current/.venv/bin/celery",
            "--quiet",
            "--app=app.core.celery_config",
            "worker",
        ]
        multi = start(drop_ins(in_files)[name], name)
        _, before = started(node_of(multi[3:]))
        (params, settings), (forked, forked_settings) = accepted(words[3:]), accepted(before)
        differ = {key for key in params if params[key] != forked[key]}
        assert differ <= {"hostname", "logfile", "detach", "executable", "pidfile", "statedb"}
        assert settings == forked_settings
        assert params["hostname"] == f"{name}@{socket.gethostname()}"
        assert params["pidfile"].replace("%n", name) == f"/run/chatlite-{name}/{name}.pid"
        assert params["statedb"].replace("%n", name) == f"/var/lib/chatlite/{name}.state"
        assert params["logfile"] is None
        for directive in ("ExecStop", "TimeoutStopSec", "KillSignal"):
            assert units.last(drop_in, "Service", directive) == units.last(
                drop_ins(in_files)[name], "Service", directive
            )


def test_in_the_journal_there_is_nothing_to_rotate() -> None:
    _, found = rendered("development", "dev1", celery_log_to="journal")
    assert not [path for path in found if "logrotate" in path]
    assert "--logfile" not in "".join(file.content for path, file in found.items() if path.startswith("/etc/systemd"))


@pytest.mark.parametrize("log_to", ["files", "journal"])
def test_json_is_a_module_beside_the_application(log_to: str) -> None:
    """Which celery worker imports from where celeriac_start.sh has it look."""
    node = {"name": "a", "queues": ["q"], "extra_arguments": ["--include=shop.more"]}
    variables = {"celery_log_format": "json", "celery_log_to": log_to, "celery_nodes": [node]}
    _, found = rendered("development", "dev1", **variables)
    (include,) = [word for word in start(drop_ins(found)["a"], "a") if word.startswith("--include")]
    assert include == "--include=celeriac_prefork,celeriac_json,shop.more"
    assert {f"{LIBRARY}/celeriac_json.py", f"{LIBRARY}/celeriac_start.sh"} <= set(found)
    _, begun = beat(**variables)
    assert begun[3] == "json"


def test_what_runs_beside_the_application_is_roots() -> None:
    _, found = rendered("development", "dev1")
    ours = {path: file for path, file in found.items() if path.startswith(f"{LIBRARY}/")}
    assert set(ours) == {f"{LIBRARY}/{path.name}" for path in PROGRAMS.iterdir() if path.is_file()}
    for file in ours.values():
        assert (file.owner, file.group, file.mode) == ("root", "root", "0644")


def test_only_what_a_node_runs_with_restarts_it() -> None:
    """The program that stops it is read when it stops."""
    inventory = Inventory("inventories/development")
    derived = inventory.loader.load_from_file(str(ROOT / "roles/celery/vars/main.yml"), trusted_as_template=True)
    inputs = inventory.evaluate("dev1", "__celery_node_inputs", **defaults("celery"), **derived)
    programs = {path.removeprefix(f"{LIBRARY}/") for path in inputs if path.startswith(LIBRARY)}
    assert programs == {"celeriac_prefork.py", "celeriac_start.sh"}


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
            target.write_text(re.sub(r"/opt/chatlite/current/.venv/bin/\w+", "/usr/bin/true", file.content))
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
def test_exposure_is_at_most_1_0(systemd: dict[str, str], name: str) -> None:
    path = f"{systemd['directory']}/{name}"
    done = analyze(systemd, "security", "--offline=true", "--threshold=10", "--no-pager", path)
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout


# -- sandbox


@pytest.mark.parametrize("name", ["chatlite-worker@.service", "chatlite-beat.service"])
def test_each_directive_of_the_sandbox_has_a_switch(name: str) -> None:
    switched = {
        **dict.fromkeys(systemd_sandbox.DEFAULTS, False),
        "ProtectSystem": True,
        "ReadWritePaths": ["/srv/media", "/srv/%i"],
    }
    _, found = rendered("development", "dev1", celery_sandbox=switched)
    service = unit(found, name)["Service"]
    assert {key for key, _ in service if key in systemd_sandbox.DEFAULTS} == {"ProtectSystem"}
    assert units.last(unit(found, name), "Service", "ProtectSystem") == "true"
    assert [value for key, value in service if key == "ReadWritePaths"] == ["/srv/media", "/srv/%i"]


@SYSTEMD_ANALYZE
def test_systemd_knows_each_directive_that_the_sandbox_may_have(systemd: dict[str, str]) -> None:
    beat = Path(systemd["directory"], "chatlite-beat.service")
    beat.write_text(
        beat.read_text().replace(
            "[Install]", "".join(f"{name}=\n" for name in (*systemd_sandbox.MORE, "Sandbox")) + "[Install]"
        )
    )
    done = analyze(systemd, "verify", "--man=no", str(beat))
    assert re.findall(r"Unknown key(?: name)? '(\w+)'", done.stderr) == ["Sandbox"]


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
    rotations = defaults("celery")["celery_log_rotations"]
    assert {"su chatlite chatlite", "nocreate", "delaycompress", f"rotate {rotations}"} <= set(directives)
    assert "copytruncate" not in directives
    assert not [line for line in directives if line.startswith("maxsize")]


def test_a_log_may_be_rotated_by_its_size_too() -> None:
    _, found = rendered("development", "dev1", celery_log_max_size="100M")
    (directives,) = logrotate(found["/etc/logrotate.d/chatlite"].content).values()
    assert {"daily", "maxsize 100M"} <= set(directives)
