"""tools/cpu_profile.py, with real processes, and with profiles whose figures are known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cpu_profile
import pytest
from cpu_profile import Look, Profile, Sampler, Timing

BURN = "import time\nwhile time.process_time() < {seconds}: pass"


@pytest.fixture(autouse=True)
def of_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests start names its step otherwise: in the suite this very process belongs to one."""
    monkeypatch.setattr(cpu_profile, "STEP", "CELERIAC_STEP_OF_A_TEST")
    # Docker would be asked about each container of this machine, one after the other
    monkeypatch.setattr(Sampler, "_step_of_container", lambda *_: cpu_profile.NOBODY)


def sampled(tmp_path: Path, *commands: list[str], step: str) -> Profile:
    """What a sampler saw of commands that ran one after the other as a step."""
    sampler = Sampler("none-", tmp_path)
    sampler.start()
    for command in commands:
        subprocess.run(command, env={**os.environ, cpu_profile.STEP: step}, check=True)
    sampler.end()
    return sampler.profile(tmp_path / "marks")


def test_a_step_is_charged_what_its_processes_use(tmp_path: Path) -> None:
    profile = sampled(tmp_path, [sys.executable, "-c", BURN.format(seconds=0.8)], step="burn")
    # what it used since the last look is its parent's
    assert 0.8 - cpu_profile.INTERVAL < profile.steps["burn"].processor < 1.3
    assert profile.whole.processor >= profile.steps["burn"].processor


def test_children_too_short_to_be_seen_are_charged_to_their_parent(tmp_path: Path) -> None:
    """Each lives for a fraction of the time between two looks; the last ones go to the parent of bash."""
    script = f"for _ in $(seq 30); do {sys.executable} -c '{BURN.format(seconds=0.05)}'; done"
    profile = sampled(tmp_path, ["bash", "-c", script], step="many")
    assert profile.steps["many"].processor > 20 * 0.05


def test_what_ends_with_its_whole_family_is_counted_once(tmp_path: Path) -> None:
    """Between two looks a process, its child and its grandchild are gone: the parent hears of all three at once."""
    (tmp_path / "burn.py").write_text(BURN.format(seconds=1.0))
    script = f"bash -c '{sys.executable} {tmp_path}/burn.py; true'; sleep 1"  # whose parent is there for another look
    before = sum(os.times()[2:4])
    profile = sampled(tmp_path, ["bash", "-c", script], step="family")
    used = sum(os.times()[2:4]) - before
    assert profile.steps["family"].processor < used + 0.3


def test_what_ran_before_is_nobodys(tmp_path: Path) -> None:
    profile = sampled(tmp_path, ["true"], step="none")
    assert profile.whole.processor < profile.cores * (profile.whole.seconds + 1)  # the machine has used far more


@pytest.mark.parametrize(
    ("command", "on_host", "kind"),
    [
        ("/root/.venv/bin/python /root/.venv/bin/ansible-playbook -i x site.yml", False, "Ansible controller"),
        ("/root/.venv/bin/python .venv/bin/ansible-lint", False, "linters"),
        ("/root/.venv/bin/python3 /root/.venv/bin/molecule test --scenario-name redis", False, "molecule"),
        ("/root/.venv/bin/python -m pytest tests", False, "pytest"),
        ("/usr/bin/containerd-shim-runc-v2 -namespace moby", False, "Docker"),
        ("vi notes", False, None),
        ("/usr/bin/apt-get install --yes redis-server", True, "packages"),
        ("/usr/bin/dpkg --status-fd 20 --unpack", True, "packages"),
        ("/opt/shop/.venv/bin/python /opt/shop/.venv/bin/celery -A shop multi start one", True, "celery multi"),
        ("/opt/shop/.venv/bin/python -m celery -A shop worker -n one@host", True, "Celery"),
        ("/usr/bin/redis-server 127.0.0.1:6379", True, "Redis"),
        ("/lib/systemd/systemd-journald", True, "systemd"),
        ("/usr/bin/python3 ", True, "modules on hosts"),
    ],
)
def test_the_command_line_tells_the_kind_of_work(command: str, on_host: bool, kind: str | None) -> None:
    assert cpu_profile.kind_of(command, on_host=on_host) == kind


@pytest.fixture
def profile() -> Profile:
    """A scenario of two phases and ten seconds, and one step without."""
    looks = [
        Look(float(second), {("molecule-x", "Redis"): 1.0, ("unit", "pytest"): 0.5, ("", "other"): 0.25}, 0.25)
        for second in range(11)
    ]
    phases = [(0.0, "molecule-x", "converge"), (6.0, "molecule-x", "verify")]
    tests = [Timing("molecule-x", "test_slow", 6.0, 9.0, 0.1), Timing("unit", "test_quick", 1.0, 1.5, 0.4)]
    return Profile(2, looks, phases, tests)


def test_figures_of_a_whole_run(profile: Profile) -> None:
    assert (profile.whole.seconds, profile.whole.processor, profile.idle) == (10.0, 1.75 * 11, 0.25 * 11)
    assert list(profile.kinds().items()) == [("Redis", 11.0), ("pytest", 5.5), ("other", 2.75)]
    assert {step: usage.processor for step, usage in profile.steps.items()} == {"molecule-x": 11.0, "unit": 5.5}


def test_a_phase_lasts_until_the_next_begins(profile: Profile) -> None:
    assert [(name, usage.seconds) for name, usage in profile.phases_of("molecule-x")] == [
        ("converge", 6),
        ("verify", 4),
    ]
    assert profile.phases_of("unit") == []


def test_a_test_is_charged_what_its_scenario_used_meanwhile_or_its_own_process(profile: Profile) -> None:
    slow, quick = profile.tests
    assert profile.usage_of(slow).processor == 4.0
    assert profile.usage_of(quick).processor == 0.4


def test_a_profile_is_read_back_as_it_was_written(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "profile.json")
    assert list(Profile.load(tmp_path / "profile.json").report()) == list(profile.report())


def test_what_is_no_profile_is_an_error_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text("{}")
    monkeypatch.setattr("sys.argv", ["cpu_profile.py", str(tmp_path / "x")])
    assert cpu_profile.main() == 1
    assert capsys.readouterr().err.startswith(f"celeriac: error: {tmp_path}/x can't be read as a profile:")
