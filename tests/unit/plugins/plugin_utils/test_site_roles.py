"""plugins/plugin_utils/site_roles.py: roles and their hosts, read off the playbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import ALONE, Site, asked, asks, site_roles

from tests.support.harness import ROLES, ROOT, home, role_hosts

GROUPS = {"all": ["r", "w2", "w1"], "redis": ["r"], "workers": ["w1", "w2"], "beat": ["w1"], "flower": []}


def write(path: Path, *plays: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(list(plays)))
    return str(path)


def test_site_runs_every_role_on_the_hosts_of_its_group() -> None:
    found = site_roles(str(ROOT / "site.yml"), {**GROUPS, "workers_to_change": [], "workers_settled": []})
    assert found == {
        "celeriac.fleet.redis": ["r"],
        "celeriac.fleet.app": ["w2", "w1"],
        "celeriac.fleet.celery": ["w2", "w1"],
    }


@pytest.mark.parametrize("role", ROLES)
def test_site_runs_every_role_in_some_inventory(role: str) -> None:
    assert role_hosts(home(role))[role]


def test_a_role_is_found_wherever_a_play_runs_it(tmp_path: Path) -> None:
    tasks = [
        {"block": [{"ansible.builtin.import_role": {"name": "c.d.three"}}], "rescue": []},
        {"ansible.builtin.include_role": {"name": "{{ item }}"}},
    ]
    play = {"hosts": "workers:!w2", "roles": ["c.d.one", {"role": "c.d.two", "tags": "x"}], "tasks": tasks}
    more = {"hosts": "beat:redis", "pre_tasks": [{"ansible.builtin.include_role": {"name": "c.d.one"}}]}
    write(tmp_path / "more.yml", more)
    playbook = write(tmp_path / "site.yml", play, {"ansible.builtin.import_playbook": "more.yml"})
    assert site_roles(playbook, GROUPS) == {"c.d.one": ["r", "w1"], "c.d.two": ["w1"], "c.d.three": ["w1"]}


@pytest.mark.parametrize("prefix", ["", "ansible.builtin.", "ansible.legacy."])
@pytest.mark.parametrize("key", ["name", "role"])
def test_a_role_is_found_however_it_is_spelt(prefix: str, key: str, tmp_path: Path) -> None:
    tasks = [{f"{prefix}import_role": {key: "c.d.two"}}, {"block": [{f"{prefix}include_role": {key: "c.d.three"}}]}]
    write(tmp_path / "more.yml", {"hosts": "redis", "roles": [{key: "c.d.one"}], "tasks": tasks})
    playbook = write(tmp_path / "site.yml", {f"{prefix}import_playbook": "more.yml"})
    assert site_roles(playbook, GROUPS) == {"c.d.one": ["r"], "c.d.two": ["r"], "c.d.three": ["r"]}


def test_a_play_without_roles_may_have_hosts_that_are_known_later(tmp_path: Path) -> None:
    play = {"hosts": "{{ found }}", "tasks": [{"include_role": {"name": "{{ item }}"}}, {"debug": {}}]}
    assert site_roles(write(tmp_path / "site.yml", play), GROUPS) == {}


def test_a_role_that_no_host_runs_is_left_out(tmp_path: Path) -> None:
    assert site_roles(write(tmp_path / "site.yml", {"hosts": "flower", "roles": ["c.d.one"]}), GROUPS) == {}


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (
            {"name": "Restore", "hosts": "{{ restore_host }}", "roles": ["c.d.one"]},
            "The play 'Restore' runs on '{{ restore_host }}'",
        ),
        ({"ansible.builtin.import_playbook": "none.yml"}, "none.yml isn't there"),
        ({"import_playbook": ["more.yml"]}, r"site.yml has import_playbook \['more.yml'\]: give it a playbook's path"),
        ({"name": "Lost", "roles": ["c.d.one"]}, "The play 'Lost' has no hosts: name groups"),
        ({"name": "Run", "hosts": "all", "roles": [{"tags": "x"}]}, "An entry of roles in the play 'Run' is {'tags': "),
        *(
            ({"hosts": "all", "tasks": [{"name": "Do", "import_role": given}]}, "import_role of the task 'Do' is ")
            for given in ("name=c.d.one", None, {"tasks_from": "x"}, {"name": ["c.d.one"]})
        ),
    ],
)
def test_what_is_not_known_yet_is_an_error(play: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        site_roles(write(tmp_path / "site.yml", play), GROUPS)


def test_hosts_that_a_run_does_not_reach_are_not_known() -> None:
    hosts: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    assert ALONE.known(hosts) == hosts
    assert Site(reached=["b"]).known(hosts) == {"b": {}}
    assert Site(reached=[]).known(hosts) == {}


def test_problems_ask_for_what_they_declare() -> None:
    @asks("workers_batch")
    def problems(hosts: Any, site: Site) -> list[str]:
        return []

    assert asked(problems) == ("workers_batch",)
    assert asked(lambda hosts, site: []) == ()
