"""purge-queue.yml and restore-queue.yml: every task is in the queue or in the file."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.servers import Server
from tests.support.site import Run, Site
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("host")]
testinfra_hosts = ["ansible://workers"]
QUEUE = "crawl_queue"


@dataclass
class Queue:
    """QUEUE, as the playbooks empty and fill it."""

    site: Site
    worker: Worker

    def purge(self) -> str:
        """Purge it; the dump's path."""
        self.site.playbook("playbooks/purge-queue.yml", purge_queue=QUEUE, purge_confirm="yes").succeeded()
        return str(self.worker.host.check_output("ls -t /var/backups/%s/*.jsonl | head -n 1", self.worker.app))

    def restore(self, path: str, *arguments: str) -> Run:
        """Put a dump's tasks back."""
        return self.site.playbook("playbooks/restore-queue.yml", *arguments, restore_queue_dump=path).succeeded()


@pytest.fixture
def queue(site: Site, worker: Worker) -> Queue:
    return Queue(site, worker)


def test_there_and_back(host: Host, drained: None, chatlite: Chatlite, queue: Queue, site: Site) -> None:
    """Ids, order and priorities are the same, a second restore doubles nothing, and the tasks run."""
    sent = chatlite.send(QUEUE, 40)
    before = chatlite.messages(QUEUE)
    assert [len(each) for each in before] == [10, 10, 10, 10]
    counted = site.playbook("playbooks/purge-queue.yml", "--check", purge_queue=QUEUE)
    assert f"{QUEUE} holds 40 tasks." in counted.output
    assert chatlite.messages(QUEUE) == before

    path = queue.purge()
    assert chatlite.messages(QUEUE) == [[], [], [], []]
    assert (host.file(path).user, host.file(path).mode) == ("root", 0o600)
    _, *lines = [json.loads(line) for line in host.file(path).content_string.splitlines()]
    assert {json.loads(line["message"])["headers"]["id"] for line in lines} == set(sent)

    assert "Would put 40 tasks back" in queue.restore(path, "--check").output
    assert "Put 40 tasks back into crawl_queue." in queue.restore(path).text
    assert chatlite.messages(QUEUE) == before
    again = queue.restore(path)
    assert "was put back before" in again.output
    assert not any(again.changed.values())
    assert chatlite.messages(QUEUE) == before

    site.playbook("playbooks/resume-node.yml", resume_node="crawler").succeeded()
    wait_for(lambda: chatlite.states(sent) == {"SUCCESS"}, what="the tasks' end")


def test_a_purge_that_was_killed_goes_on(
    host: Host,
    drained: None,
    site: Site,
    broker: Server,
    app: str,
    chatlite: Chatlite,
    queue: Queue,
) -> None:
    """SIGKILL of the module in the middle, where Redis lets nobody write: nothing is lost and nothing twice."""
    chatlite.send(QUEUE, 12000)
    before = chatlite.messages(QUEUE)
    whole = sum(map(len, before))
    in_app = "answers = os[.]fdopen"  # the process in the application; its parent is the module, from standard input
    client = broker.connect()
    with site.start("playbooks/purge-queue.yml", purge_queue=QUEUE, purge_confirm="yes") as running:
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
    assert 0 < sum(map(len, chatlite.messages(QUEUE))) < whole
    queue.restore(queue.purge())
    assert chatlite.messages(QUEUE) == before
    queue.purge()


def test_a_full_broker_can_be_purged(
    host: Host, drained: None, broker: Server, chatlite: Chatlite, queue: Queue
) -> None:
    chatlite.send(QUEUE, 8)
    before = chatlite.messages(QUEUE)
    maxmemory = broker.cli("CONFIG", "GET", "maxmemory").split()[-1]
    broker.cli("CONFIG", "SET", "maxmemory", "1mb")
    try:
        assert "OOM" in broker.cli("SET", f"{broker.variables['app_name']}:x", "y")
        path = queue.purge()
    finally:
        broker.cli("CONFIG", "SET", "maxmemory", maxmemory)
    assert chatlite.messages(QUEUE) == [[], [], [], []]
    queue.restore(path)
    assert chatlite.messages(QUEUE) == before


def test_what_a_node_has_fetched_stays_with_it(host: Host, chatlite: Chatlite, queue: Queue) -> None:
    running, _ = chatlite.crawl(30)
    sent = chatlite.send(QUEUE, 8)
    dump = host.file(queue.purge()).content_string.splitlines()[1:]
    purged = [json.loads(json.loads(line)["message"])["headers"]["id"] for line in dump]
    assert len(purged) >= 6  # the node may fetch one beside the one that runs
    wait_for(lambda: chatlite.states([running, *set(sent) - set(purged)]) == {"SUCCESS"}, what="what was fetched")
    assert chatlite.states(purged) == {"PENDING"}


def test_acl_refused_nothing(broker: Server) -> None:
    assert "command" not in broker.cli("ACL", "LOG")
