"""Releases: built beside the running one, from what is there already, wholly or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.releases import Releases
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.destructive


def path(directory: Path) -> dict[str, str]:
    return {"type": "path", "path": str(directory)}


def test_a_changed_application_is_a_new_release_with_the_same_virtualenv(
    host: Host, releases: Releases, source: Path
) -> None:
    before, virtualenv = releases.current, releases.virtualenv
    (source / "app" / "new.py").write_text('"""New."""\n')
    releases.deploy(app_source=path(source)).succeeded()
    after = releases.current
    assert after != before
    assert releases.virtualenv == virtualenv
    assert host.file(f"{after}/app/new.py").exists
    assert host.check_output(f"ls {after}/app/__pycache__/new.*.pyc")
    assert host.file(before).is_directory


def test_an_unchanged_application_changes_nothing(host: Host, releases: Releases) -> None:
    assert releases.deploy().succeeded().changed == {host.backend.host: 0}


def test_changed_requirements_are_installed_from_the_cache(releases: Releases, small: Path) -> None:
    before = releases.virtualenv
    releases.deploy(app_source=path(small), app_build_environment={"UV_OFFLINE": "1"}).succeeded()
    assert releases.virtualenv != before


def test_a_wrong_hash_is_refused_and_leaves_the_running_release(releases: Releases, small: Path) -> None:
    before, there = releases.current, releases.there()
    (small / "requirements.txt").write_text(f"protego==0.7.0 --hash=sha256:{64 * '0'}\n")
    run = releases.deploy(app_source=path(small))
    assert run.returncode != 0
    assert "Installing the requirements failed" in run.output
    assert 64 * "0" in run.output
    assert (releases.current, releases.there()) == (before, there)


def test_a_package_is_deployed_without_files_by_pip_too(host: Host, releases: Releases, worker: Worker) -> None:
    """By uv: tests/integration/package/test_package.py."""
    package = {"type": "package", "requirement": "Protego"}
    releases.deploy(app_source=package, app_version="0.7.0", app_installer="pip").succeeded()
    assert releases.about()["requirement"] == "protego==0.7.0"
    assert releases.about()["installer"] == "pip"
    assert worker.run("python", "-c", "import protego; print(protego.__file__)").startswith(releases.root)
    names = host.check_output(f"ls -A {releases.current}").split()
    assert names == [".celeriac-complete", ".celeriac-requirements.txt", ".venv"]


def test_a_project_below_src_is_installed(releases: Releases, small: Path, worker: Worker) -> None:
    (small / "src" / "shop").mkdir(parents=True)
    (small / "src" / "shop" / "__init__.py").write_text("y = 2\n")
    (small / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "shop"\nversion = "1.0"\n[tool.setuptools.packages.find]\nwhere = ["src"]\n'
    )
    releases.deploy(app_source=path(small), app_install_project=True).succeeded()
    assert worker.run("python", "-c", "import shop; print(shop.y)") == "2"
    assert worker.run("ls", "src", "-A").split() == ["shop"]


def test_old_releases_go_but_not_one_in_use(host: Host, releases: Releases, small: Path) -> None:
    used = releases.current
    host.check_output(f"systemd-run --unit=use --working-directory={used} sleep infinity")
    made = []
    for number in range(2):
        (small / "tasks.py").write_text(f"x = {number} # {small}\n")
        releases.deploy(app_source=path(small), app_keep_releases=number).succeeded()
        made.append(releases.current)
    there = {f"{releases.root}/{name}" for name in releases.there() if name.startswith("releases")}
    host.check_output("systemctl stop use")
    assert there == {used, *made[1:]}
    linked = host.check_output(f"readlink -f {' '.join(f'{each}/.venv' for each in there)}").split()
    environments = {f"{releases.root}/{name}" for name in releases.there() if name.startswith("virtualenvs")}
    assert environments == set(linked)


# -- builds that don't end well


@pytest.fixture
def stuck(host: Host) -> Iterator[str]:
    """A package index that accepts connections and never answers; its URL, with a password."""
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 8099)); kept = []\nwhile True: kept.append(s.accept())"
    )
    host.check_output("systemd-run --unit=stuck python3 -c %s", code)
    yield "http://me:hunter2@127.0.0.1:8099/"
    host.check_output("systemctl stop stuck")


def test_a_build_that_was_killed_is_repaired_by_the_next_which_waited_for_it(
    host: Host, releases: Releases, small: Path, stuck: str, worker: Worker
) -> None:
    before = releases.current
    (small / "requirements.txt").write_text(f"protego==0.6.2 # {small}\n")
    asks = "pgrep -xf '[^ ]*/uv pip install .*'"  # not the uv that makes the virtualenv before
    holders = f"find /proc/[0-9]*/fd -lname {releases.root}/.celeriac-lock 2>/dev/null"
    with ThreadPoolExecutor() as pool:  # a failed test waits for its runs, too: the next finds none at work
        first = pool.submit(releases.deploy, app_source=path(small), app_index_url=stuck)
        uv = wait_for(lambda: host.run(asks).stdout.strip(), what="uv at work")
        arguments = host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        second = pool.submit(releases.deploy, app_source=path(small))
        wait_for(lambda: len(host.run(holders).stdout.split()) > 2, what="the second build")
        module = host.check_output(f"ps -o ppid= -p {uv}").strip()
        host.check_output(f"kill -9 {module}")
        assert first.result().returncode != 0
        assert second.running()  # what outlived the first run keeps the second out
        assert releases.current == before
        host.check_output(f"kill -9 {uv}")
        second.result().succeeded()
    assert worker.run("python", "-c", "import protego") == ""
    assert "hunter2" not in arguments


def test_a_build_that_fails_says_why_without_the_indexs_password(host: Host, releases: Releases, small: Path) -> None:
    before, there = releases.current, releases.there()
    (small / "requirements.txt").write_text("celery==0.0.404\n")
    run = releases.deploy(
        app_source=path(small),
        app_index_url="http://me:hunter2@127.0.0.1:9/",
        app_build_environment={"TOKEN": "t0p-secret", "UV_HTTP_RETRIES": "0"},
    )
    assert run.returncode != 0
    assert "the running one is untouched. Installing the requirements failed" in run.output
    assert "celery" in run.output
    assert (releases.current, releases.there()) == (before, there)
    for secret in ("hunter2", "t0p-secret"):
        assert secret not in run.output
        assert host.run(f"journalctl --no-pager --grep={secret[0]}[{secret[1]}]{secret[2:]}").stdout in (
            "",
            "-- No entries --\n",
        )


def test_only_binary_runs_no_code_of_a_source_distribution(releases: Releases, small: Path) -> None:
    before = releases.current
    (small / "requirements.txt").write_text("docopt==0.6.2\n")  # has no wheel
    run = releases.deploy(app_source=path(small), app_only_binary=True)
    assert run.returncode != 0
    assert "docopt" in run.output
    assert releases.current == before
