"""The application on a host: who may do what, and releases named after their content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://workers"]

ROOT = Path(__file__).resolve().parents[3]


def test_user_is_a_system_user_who_cannot_log_in(host: Host, app: str) -> None:
    user = host.user(app)
    assert user.uid < 1000
    assert user.shell == "/usr/sbin/nologin"
    assert user.password in ("!", "*")


def test_current_points_to_a_release_named_after_its_content(host: Host, app: str) -> None:
    release = host.file(f"/opt/{app}/current").linked_to
    assert release.startswith(f"/opt/{app}/releases/")
    assert host.file(f"{release}/.celeriac-complete").exists


def test_application_cannot_write_what_it_runs(host: Host, app: str) -> None:
    found = host.check_output("find /opt/%s/ -not -type l \\( -not -user root -o -perm /022 \\) | head", app)
    assert found == ""


def test_environment_file_is_readable_by_root_and_the_application_alone(host: Host, app: str) -> None:
    file = host.file(f"/etc/{app}/{app}.env")
    assert (file.user, file.group, file.mode) == ("root", app, 0o640)


def test_further_files_are_readable_by_root_and_the_application_alone(host: Host, app: str, variables) -> None:
    for wanted in variables.get("app_files", []):
        file = host.file(f"/etc/{app}/{wanted['name']}")
        assert (file.user, file.group, file.mode) == ("root", app, 0o640)
        assert file.content_string == wanted["content"]


def test_environment_arrives_to_the_letter(app_run: Callable[..., str], variables) -> None:
    environment = json.loads(app_run("python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"))
    expected = {name: str(value) for name, value in variables["app_environment"].items()}
    assert {name: environment.get(name) for name in expected} == expected


def test_dependencies_are_the_locked_ones(app_run: Callable[..., str], variables) -> None:
    lock = (ROOT / variables["app_source"]["path"] / "requirements.txt").read_text()
    for name in ("celery", "kombu", "redis"):
        version = app_run("python", "-c", f"from importlib.metadata import version; print(version('{name}'))").strip()
        assert f"{name}=={version} " in lock


def test_runs_as_the_applications_user(app_run: Callable[..., str], app: str) -> None:
    assert app_run("id", "-un").strip() == app


def test_command_without_an_argument_says_how(host: Host, app: str) -> None:
    done = host.run(f"{app}-run")
    assert done.rc == 2
    assert "usage:" in done.stderr


@pytest.fixture
def changed_source(tmp_path: Path, variables) -> Path:
    """A copy of the application to change."""
    return Path(shutil.copytree(ROOT / variables["app_source"]["path"], tmp_path / "source"))


@pytest.mark.destructive
def test_a_changed_application_is_a_new_release_and_the_old_one_stays(
    host: Host, app: str, playbook: Callable, changed_source: Path, variables
) -> None:
    before = host.file(f"/opt/{app}/current").linked_to
    (changed_source / "app" / "new.py").write_text('"""New."""\n')
    limit = f"--limit={host.backend.host}"
    run = playbook("molecule/app/converge.yml", limit, app_source={"type": "path", "path": str(changed_source)})
    assert run.returncode == 0, run.output
    after = host.file(f"/opt/{app}/current").linked_to
    assert after != before
    assert host.file(f"{after}/app/new.py").exists
    assert host.file(before).is_directory
    back = playbook("molecule/app/converge.yml", limit)
    assert back.returncode == 0, back.output
    assert host.file(f"/opt/{app}/current").linked_to == before


@pytest.mark.destructive
def test_a_release_that_cannot_be_built_leaves_the_running_one_and_says_why(
    host: Host, app: str, playbook: Callable, changed_source: Path
) -> None:
    before = host.file(f"/opt/{app}/current").linked_to
    releases = host.check_output("ls /opt/%s/releases", app)
    (changed_source / "requirements.txt").write_text("celery==0.0.404\n")
    run = playbook(
        "molecule/app/converge.yml",
        f"--limit={host.backend.host}",
        app_source={"type": "path", "path": str(changed_source)},
    )
    assert run.returncode != 0
    assert "Installing the requirements failed" in run.output
    assert "celery==0.0.404" in run.output
    assert host.file(f"/opt/{app}/current").linked_to == before
    assert host.check_output("ls /opt/%s/releases", app) == releases
