"""bench/lab.py and what figures make with it: inventories, copies of applications, trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import bare_celery, growth, lab, no_change, one_line_change
from bench.first_run import archive, development
from bench.lab import Environment, Lab, Options, alone
from bench.timing import BenchError, Run, run
from tests.support.harness import SECRETS, Inventory
from tests.unit.test_preflight import problems

QUIET = Run(0.0, 0.0, 0.0, 0.0, "dev1 : ok=3  changed=0  unreachable=0\n")


@pytest.fixture
def bench() -> Iterator[Lab]:
    with Lab(Options(rounds=2)) as made:
        yield made


def pair(bench: Lab) -> Environment:
    (series, queues), *_ = one_line_change.SERIES.items()
    return one_line_change.Pair(bench, series, queues).environment


def grown(bench: Lab) -> Environment:
    return Environment(bench, "growth", growth.groups(3), growth.variables(bench.application("growth")))


def loaded(bench: Lab) -> Environment:
    return Environment(bench, "tls", alone("host1"), bare_celery.variables(bench, "tls", tls=True))


@pytest.mark.parametrize("make", [lambda bench: development(bench, "ours"), pair, grown, loaded])
def test_every_environment_passes_the_preflight(bench: Lab, make: Callable[[Lab], Environment]) -> None:
    environment = make(bench)
    for name in ("zz_test_hosts.py", "zz_secrets.yml"):
        (environment.directory / name).unlink()  # as if the hosts weren't containers
    state = {"test_host_state": str(bench.scratch), "redis_tls_ca_directory": str(bench.scratch / "tls")}
    assert problems(Inventory(environment.directory, **SECRETS, **state)) == []


def test_the_environment_of_a_first_run_is_development_s_own(bench: Lab) -> None:
    ours, theirs = (
        Inventory(source, **SECRETS) for source in (development(bench, "ours").directory, "inventories/development")
    )
    assert {group: hosts for group, hosts in ours.groups.items() if hosts} == {
        group: hosts for group, hosts in theirs.groups.items() if hosts
    }
    for name in ("app_name", "celery_nodes", "redis_instances", "celery_routed_queues"):
        assert ours.variables("dev1")[name] == theirs.variables("dev1")[name]


def test_on_more_hosts_each_has_one_node_and_the_first_has_redis() -> None:
    assert growth.groups(3) == {
        "redis": ["host1"],
        "workers": ["host1", "host2", "host3"],
        "beat": ["host1"],
    }


def test_a_preflight_of_hosts_that_are_not_there_is_the_playbook_itself(bench: Lab) -> None:
    counter = bench.scratch / "computed"
    counting = f"{{{{ lookup('ansible.builtin.pipe', 'echo x >>{counter}; echo info') }}}}"
    application = growth.variables(bench.application("growth"))
    simulation = growth.Simulation(bench, 3, {**application, "celery_loglevel": counting})
    done = run(simulation.command, simulation.environ)
    assert "PLAY [Preflight]" in done.output
    assert counter.read_text().count("x") == 3  # each host's variables are computed once
    assert "Gathering Facts" not in done.output


def test_a_preflight_of_hosts_that_are_not_there_still_finds_what_is_wrong(bench: Lab) -> None:
    variables = growth.variables(bench.application("growth"))
    simulation = growth.Simulation(bench, 2, {**variables, "celery_routed_queues": ["nowhere"]})
    with pytest.raises(BenchError, match="nowhere"):
        run(simulation.command, simulation.environ)


def test_a_trial_has_its_time_load_and_values(bench: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with bench.trial("site.yml", 2, hosts=5) as found:
        found.update(no_change.told(Run(8.5, 4.0, 9.0, 120.0, "", {"": 0.5, "Preflight": 8.0})))
    (trial,) = bench.trials
    assert (trial.series, trial.round, trial.hosts, trial.values["seconds"]) == ("site.yml", 2, 5, 8.5)
    assert trial.split == {"start of Ansible": 0.5, "Preflight": 8.0}
    assert trial.at.endswith("+00:00")
    assert "site.yml" in capsys.readouterr().out


def test_a_measurement_that_fails_is_no_trial(bench: Lab) -> None:
    with pytest.raises(BenchError), bench.trial("site.yml", 1):
        raise BenchError("it failed")
    assert bench.trials == []


def test_a_run_that_was_to_change_nothing_and_did_is_no_measurement(
    bench: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = development(bench, "ours")
    said = iter([QUIET, Run(1.0, 1.0, 1.0, 1.0, "dev1 : ok=3  changed=1  unreachable=0\n")])
    monkeypatch.setattr(lab, "run", lambda *_: next(said))
    assert environment.settled("site.yml") == QUIET
    with pytest.raises(BenchError, match=r"site\.yml was to find nothing to change"):
        environment.settled("site.yml")


@pytest.mark.parametrize("ends", [None, BenchError("no node answers")])
def test_hosts_are_removed_however_the_measurement_ends(
    bench: Lab, monkeypatch: pytest.MonkeyPatch, ends: Exception | None
) -> None:
    played: list[str] = []
    monkeypatch.setattr(lab, "run", lambda command, *_: played.append(Path(command[-1]).name) or QUIET)

    def measure() -> None:
        with development(bench, "ours").up() as environment:
            environment.play("site.yml")
            if ends:
                raise ends

    if ends:
        with pytest.raises(BenchError):
            measure()
    else:
        measure()
    assert played == ["create.yml", "site.yml", "destroy.yml"]


def test_environments_do_not_meet_and_leave_nothing(bench: Lab) -> None:
    one, other = development(bench, "one"), development(bench, "other")
    assert one.container("dev1") != other.container("dev1")
    for environment in (one, other):
        for name in ("ANSIBLE_HOME", "XDG_STATE_HOME"):
            assert Path(environment.environ[name]).is_relative_to(bench.scratch)
    with Lab(Options()) as short:
        assert short.scratch.is_dir()
    assert not short.scratch.exists()


def test_the_changed_application_differs_in_one_line(bench: Lab) -> None:
    made = one_line_change.Pair(bench, "the same queues", one_line_change.SERIES["the same queues"])
    before = made.file.read_text()
    after = one_line_change.changed(before, "7")
    differing = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert differing == [('RELEASE = "0"', 'RELEASE = "7"')]
    compile(after, str(made.file), "exec")


def test_what_is_sent_to_a_host_has_no_compiled_files(tmp_path: Path) -> None:
    (tmp_path / "app/__pycache__").mkdir(parents=True)
    for name in ("app/a.py", "app/__pycache__/a.pyc"):
        (tmp_path / name).write_text("")
    packed: Any = archive({"chatlite": tmp_path / "app"})
    assert b"chatlite/a.py" in packed
    assert b"pycache" not in packed
