"""The collection as others get it: what is in its artefact, that it installs, and what its check finds."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import collection
import pytest

from tests.support.harness import ROOT, read_yaml

BIN = Path(sys.executable).parent
GALAXY = read_yaml(ROOT / collection.COLLECTION / "galaxy.yml")


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection.build(tmp_path_factory.mktemp("dist"))


def elsewhere(place: Path, *command: str | Path) -> str:
    """What a command of the virtualenv prints in another directory, for which nothing of ours is configured."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environ["ANSIBLE_COLLECTIONS_PATH"] = str(place)
    return subprocess.run(
        [str(BIN / command[0]), *map(str, command[1:])],
        cwd=place,
        env=environ,
        text=True,
        capture_output=True,
        check=True,
    ).stdout


def test_the_collection_has_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert GALAXY["version"] == project["version"]


def test_the_artefact_is_named_after_the_version(artefact: Path) -> None:
    assert artefact.name == f"celeriac-fleet-{GALAXY['version']}.tar.gz"


def test_the_artefact_has_what_git_tracks_and_no_links(artefact: Path) -> None:
    with tarfile.open(artefact) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    files = {member.name for member in members if member.isfile()} - {"MANIFEST.json", "FILES.json"}
    parts = [path for path in collection.tracked() if path.parts[0] in ("plugins", "roles")]
    own = {"README.md", "CHANGELOG.md", "LICENSE", "meta/runtime.yml"}
    assert files == {str(path) for path in parts} | own


def test_the_artefact_installs_into_an_empty_directory(artefact: Path, tmp_path: Path) -> None:
    elsewhere(tmp_path, "ansible-galaxy", "collection", "install", "--offline", "-p", tmp_path, artefact)
    shown = elsewhere(tmp_path, "ansible-doc", "--type", "role", "--json", "celeriac.fleet.redis")
    assert str(tmp_path / collection.PLACE) in shown
    (tmp_path / "site.yml").write_text(
        """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that: "{'redis1': {'redis_instances': []}} | celeriac.fleet.redis_problems | length == 1"
    - celeriac.fleet.redis_host: {flavor: redis}
"""
    )
    assert "failed=0" in elsewhere(tmp_path, "ansible-playbook", "site.yml")


WRONG = [
    ("plugins/modules/app_command.py", "  user: {", "  other: {", "undocumented-parameter"),
    ("plugins/filter/redis_url.yml", "type: int", "type: number", "invalid-documentation"),
    ("meta/runtime.yml", "requires_ansible", "requires_ansibel", "extra keys"),
]


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    tree = collection.make_tree(tmp_path)
    for file, old, new, _ in WRONG:
        text = (tree / file).read_text()
        assert old in text
        (tree / file).write_text(text.replace(old, new, 1))
    found = collection.sanity(tree, [file for file, *_ in WRONG])
    for file, _, _, finding in WRONG:
        assert any(finding in line and file in line for line in found), file
