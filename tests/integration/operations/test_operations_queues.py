"""purge-queue.yml and restore-queue.yml: every task is in the queue or in the file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.servers import Server

pytestmark = pytest.mark.destructive
testinfra_hosts = ["ansible://workers"]
QUEUE = "crawl_queue"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def purge(playbook: Callable[..., Any], host: Host, app: str) -> Callable[[], str]:
    """Purge the queue; the dump's path."""

    def run() -> str:
        done = playbook("playbooks/purge-queue.yml", purge_queue=QUEUE, purge_confirm="yes")
        assert done.returncode == 0, done.output
        return str(host.check_output("ls -t /var/backups/%s/*.jsonl | head -n 1", app))

    return run


@pytest.fixture
def restore(playbook: Callable[..., Any]) -> Callable[..., Any]:
    def run(path: str, *arguments: str) -> Any:
        done = playbook("playbooks/restore-queue.yml", *arguments, restore_queue_dump=path)
        assert done.returncode == 0, done.output
        return done

    return run


def test_there_and_back(
    host: Host,
    drained: None,
    send: Callable,
    messages: Callable,
    purge: Callable,
    restore: Callable,
    playbook: Callable,
    states: Callable,
    wait_for: Callable,
) -> None:
    """Ids, order and priorities are the same, a second restore doubles nothing, and the tasks run."""
    sent = send(QUEUE, 40)
    before = messages(QUEUE)
    assert [len(each) for each in before] == [10, 10, 10, 10]
    counted = playbook("playbooks/purge-queue.yml", "--check", purge_queue=QUEUE)
    assert f"{QUEUE} holds 40 tasks." in counted.output
    assert messages(QUEUE) == before

    path = purge()
    assert messages(QUEUE) == [[], [], [], []]
    assert (host.file(path).user, host.file(path).mode) == ("root", 0o600)
    _, *lines = [json.loads(line) for line in host.file(path).content_string.splitlines()]
    assert {json.loads(line["message"])["headers"]["id"] for line in lines} == set(sent)

    assert "Would put 40 tasks back" in restore(path, "--check").output
    assert "Put 40 tasks back into crawl_queue." in " ".join(restore(path).output.split())
    assert messages(QUEUE) == before
    again = restore(path)
    assert "was put back before" in again.output
    assert not any(again.changed.values())
    assert messages(QUEUE) == before

    assert playbook("playbooks/resume-node.yml", resume_node="crawler").returncode == 0
    wait_for(lambda: states(sent) == {"SUCCESS"}, what="the tasks' end")


def test_a_purge_that_was_killed_goes_on(
    host: Host,
    drained: None,
    inventory,
    broker: Server,
    app: str,
    send: Callable,
    messages: Callable,
    purge: Callable,
    restore: Callable,
    wait_for: Callable,
) -> None:
    """SIGKILL of the module in the middle, where Redis lets nobody write: nothing is lost and nothing twice."""
    send(QUEUE, 12000)
    before = messages(QUEUE)
    whole = sum(map(len, before))
    command = ["ansible-playbook", "-i", inventory.path, "playbooks/purge-queue.yml"]
    command += ["-e", f"purge_queue={QUEUE}", "-e", "purge_confirm=yes"]
    in_app = "answers = os[.]fdopen"  # the process in the application; its parent is the module, from standard input
    client = broker.connect()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        while client.llen(f"{app}:{QUEUE}") == len(before[0]):
            assert running.poll() is None, running.communicate()
        client.client_pause(60_000, all=False)
        try:
            host.check_output(f"kill -9 $(ps -o ppid= -p $(pgrep -f '{in_app}'))")
            output, _ = running.communicate()
        finally:
            client.client_unpause()
    assert running.returncode != 0, output
    wait_for(lambda: host.run("pgrep -f %s", in_app).rc == 1, what="the end of what the module left running")
    assert 0 < sum(map(len, messages(QUEUE))) < whole
    restore(purge())
    assert messages(QUEUE) == before
    purge()


def test_a_full_broker_can_be_purged(
    host: Host, drained: None, broker: Server, send: Callable, messages: Callable, purge: Callable, restore: Callable
) -> None:
    send(QUEUE, 8)
    before = messages(QUEUE)
    maxmemory = broker.cli("CONFIG", "GET", "maxmemory").split()[-1]
    broker.cli("CONFIG", "SET", "maxmemory", "1mb")
    try:
        assert "OOM" in broker.cli("SET", f"{broker.variables['app_name']}:x", "y")
        path = purge()
    finally:
        broker.cli("CONFIG", "SET", "maxmemory", maxmemory)
    assert messages(QUEUE) == [[], [], [], []]
    restore(path)
    assert messages(QUEUE) == before


def test_what_a_node_has_fetched_stays_with_it(
    host: Host, crawl: Callable, send: Callable, purge: Callable, states: Callable, wait_for: Callable
) -> None:
    running = crawl(30)
    sent = send(QUEUE, 8)
    dump = host.file(purge()).content_string.splitlines()[1:]
    purged = [json.loads(json.loads(line)["message"])["headers"]["id"] for line in dump]
    assert len(purged) >= 6  # the node may fetch one beside the one that runs
    wait_for(lambda: states([running, *set(sent) - set(purged)]) == {"SUCCESS"}, timeout=60, what="what was fetched")
    assert states(purged) == {"PENDING"}


def test_acl_refused_nothing(broker: Server) -> None:
    assert "command" not in broker.cli("ACL", "LOG")
