"""The application on a host: who may do what, and its environment."""

from __future__ import annotations

import json

from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.paths import ROOT

testinfra_hosts = ["ansible://workers"]


def test_user_is_a_system_user_who_cannot_log_in(host: Host, app: str) -> None:
    user = host.user(app)
    assert user.uid < 1000
    assert user.shell == "/usr/sbin/nologin"
    assert user.password in ("!", "*")


def test_current_points_to_a_release_named_after_its_content(host: Host, app: str) -> None:
    release = host.file(f"/opt/{app}/current").linked_to
    assert release.startswith(f"/opt/{app}/releases/")
    assert json.loads(host.file(f"{release}/.celeriac-complete").content_string)["python"].startswith("3.")


def test_application_cannot_write_what_it_runs(host: Host, app: str) -> None:
    found = host.check_output(
        "find /opt/%s/ /usr/local/lib/celeriac -not -type l \\( -not -user root -o -perm /022 \\) | head", app
    )
    assert found == ""


def test_what_was_downloaded_is_roots_alone(host: Host, app: str) -> None:
    assert host.run(f"setpriv --reuid={app} --regid={app} --clear-groups ls /var/cache/{app}/uv").rc != 0


def test_environment_file_is_readable_by_root_and_the_application_alone(host: Host, app: str) -> None:
    file = host.file(f"/etc/{app}/{app}.env")
    assert (file.user, file.group, file.mode) == ("root", app, 0o640)


def test_further_files_are_readable_by_root_and_the_application_alone(
    host: Host, app: str, variables: Variables
) -> None:
    for wanted in variables.get("app_files", []):
        file = host.file(f"/etc/{app}/{wanted['name']}")
        assert (file.user, file.group, file.mode) == ("root", app, 0o640)
        assert file.content_string == wanted["content"]


def test_environment_arrives_to_the_letter(worker: Worker, variables: Variables) -> None:
    environment = json.loads(worker.run("python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"))
    expected = {name: str(value) for name, value in variables["app_environment"].items()}
    assert {name: environment.get(name) for name in expected} == expected


def test_dependencies_are_the_locked_ones(worker: Worker, variables: Variables) -> None:
    lock = (ROOT / variables["app_source"]["path"] / "requirements.txt").read_text()
    for name in ("celery", "kombu", "redis"):
        version = worker.run(
            "python", "-c", f"from importlib.metadata import version; print(version('{name}'))"
        ).strip()
        assert f"{name}=={version} " in lock


def test_runs_as_the_applications_user(worker: Worker, app: str) -> None:
    assert worker.run("id", "-un").strip() == app


def test_command_without_an_argument_says_how(host: Host, app: str) -> None:
    done = host.run(f"{app}-run")
    assert done.rc == 2
    assert "usage:" in done.stderr
