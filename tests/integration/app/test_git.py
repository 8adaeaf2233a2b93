"""Applications from a git repository, over SSH with a deploy key.

Over HTTPS with a token, and what processes see of it: tests/unit/test_module_util_git_mirror.py.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.releases import Releases

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.destructive


@dataclass
class Forge:
    """A git server on the host under test, and a work tree of the repository on it."""

    url: str
    key: str
    known_hosts: str
    tree: Path
    ssh: str

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.tree), "-c", "user.name=a", "-c", "user.email=a@b.example", *arguments]
        environment = {**os.environ, "GIT_SSH_COMMAND": self.ssh}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    def push(self, text: str, tag: str = "") -> str:
        """Commit ``text`` as the application's module and push it; the commit."""
        (self.tree / "shop" / "tasks.py").write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")
        if tag:
            self.git("tag", tag)
        self.git("push", "--quiet", "--tags", self.url, "main")
        return self.git("rev-parse", "HEAD")

    def variables(self, version: str, **changes: str) -> dict[str, Any]:
        return {
            "app_source": {"type": "git", "repo": self.url, "version": version, "path": "shop"},
            "app_git_ssh_key": self.key,
            "app_git_known_hosts": self.known_hosts,
            **changes,
        }


@pytest.fixture
def forge(host: Host, tmp_path: Path) -> Forge:
    host.check_output(
        "command -v git sshd >/dev/null || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive "
        "apt-get -qq install --no-install-recommends git openssh-server; } && systemctl start ssh && "
        "{ id git >/dev/null 2>&1 || useradd --create-home --password '*' git; }"
    )
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    host.check_output(
        "rm -rf ~git/shop.git ~git/.ssh && install -d -o git -m 700 ~git/.ssh && echo %s >~git/.ssh/authorized_keys && "
        "runuser -u git -- git init --quiet --bare --initial-branch=main ~git/shop.git",
        public,
    )
    address = host.check_output("hostname -I").split()[0]
    known_hosts = f"{address} {host.check_output('cat /etc/ssh/ssh_host_ed25519_key.pub')}\n"
    (tmp_path / "known_hosts").write_text(known_hosts)
    tree = tmp_path / "tree"
    (tree / "shop").mkdir(parents=True)
    (tree / "shop" / "requirements.txt").write_text("protego==0.7.0\n")
    ssh = f"ssh -i {key} -o UserKnownHostsFile={tmp_path}/known_hosts -o IdentitiesOnly=yes"
    found = Forge(f"ssh://git@{address}/home/git/shop.git", key.read_text(), known_hosts, tree, ssh)
    found.git("init", "--quiet", "--initial-branch=main")
    return found


def test_a_tag_a_branch_and_a_commit_are_deployed_with_a_deploy_key(
    host: Host, releases: Releases, forge: Forge, worker: Worker
) -> None:
    first = forge.push("x = 1\n", tag="v1")
    releases.deploy(**forge.variables("main")).succeeded()
    made = releases.current
    about = releases.about()
    assert (about["version"], about["commit"], about["repo"]) == ("main", first, forge.url.replace("git@", ""))
    assert worker.run("python", "-c", "import tasks; print(tasks.x)") == "1"

    assert releases.deploy(**forge.variables("v1")).succeeded().changed == {host.backend.host: 0}

    second = forge.push("x = 2\n")
    releases.deploy(**forge.variables("main")).succeeded()
    assert releases.about()["commit"] == second

    releases.deploy(**forge.variables("main", app_version=first)).succeeded()
    assert releases.current == made  # which was there


def test_what_is_wrong_with_a_repository_is_one_sentence_without_the_key(releases: Releases, forge: Forge) -> None:
    forge.push("x = 1\n")
    secret = forge.key.splitlines()[2]
    other = forge.key.replace(secret, secret[::-1])
    wrong = {
        "app_git_ssh_key or app_git_token may read it": forge.variables("main", app_git_ssh_key=other),
        "Host key verification failed": forge.variables("main", app_git_known_hosts="git.example ssh-ed25519 AAAA\n"),
    }
    for said, variables in wrong.items():
        run = releases.deploy(**variables)
        assert run.returncode != 0
        assert said in run.text
        assert secret not in run.output
