"""tests/support/site.py and waiting.py: what the integration tests stand on, with this machine as the only host."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from tests.support.site import Run, Site
from tests.support.waiting import wait_for

RECAP = """
PLAY RECAP *********************************************************************
broker1                    : ok=41   changed=0    unreachable=0    failed=0    skipped=9    rescued=0    ignored=0
worker1                    : ok=52   changed=3    unreachable=1    failed=2    skipped=5    rescued=0    ignored=0
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site of one host, this one, in the group ``redis``."""
    here = {"ansible_connection": "local", "greeting": "{{ inventory_hostname }} is here"}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"redis": {"hosts": {"here": here}}}))
    return Site(str(tmp_path / "hosts.yml"))


@pytest.fixture
def playbook(tmp_path: Path) -> str:
    """A playbook that says ``said``, and fails where it is empty."""
    task = {"ansible.builtin.assert": {"that": "said | length > 0", "success_msg": "It was {{ said }}."}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    return str(tmp_path / "play.yml")


def test_a_run_knows_its_recap() -> None:
    run = Run(2, RECAP)
    assert run.changed == {"broker1": 0, "worker1": 3}
    assert run.recap["worker1"] == {"ok": 52, "changed": 3, "unreachable": 1, "failed": 2}


def test_a_run_that_failed_fails_the_test_with_its_output() -> None:
    assert Run(0, "fine").succeeded().output == "fine"
    with pytest.raises(AssertionError, match="no such table"):
        Run(2, "no such table").succeeded()


def test_a_sites_variables_are_templated(site: Site) -> None:
    assert site.group("redis") == ["here"]
    assert site["here"]["greeting"] == "here is here"


def test_a_playbook_gets_variables_and_says_how_it_ended(site: Site, playbook: str) -> None:
    run = site.playbook(playbook, said="two  words").succeeded()
    assert run.changed == {"here": 0}
    assert "It was two words." in run.text
    failed = site.playbook(playbook, said="")
    assert failed.returncode == 2
    assert failed.recap["here"]["failed"] == 1


def test_a_playbook_that_was_started_can_be_killed_whole(site: Site, playbook: str) -> None:
    with site.start(playbook, said="x") as process:
        assert os.getpgid(process.pid) == process.pid
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_wait_returns_what_came_about() -> None:
    looks = iter(["", "", "came"])
    assert wait_for(lambda: next(looks)) == "came"


def test_a_wait_in_vain_says_for_what() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"the boot did not come about within 0.3 seconds"):
        wait_for(lambda: False, timeout=0.3, what="the boot")
