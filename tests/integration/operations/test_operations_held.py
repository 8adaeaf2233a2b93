"""A node that was drained and is held: what becomes of its task, of itself, and of a queue that nobody consumes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.servers import Server
from tests.support.site import Run, Site
from tests.support.waiting import wait_for, wait_for_boot

pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("host")]
testinfra_hosts = ["ansible://workers"]

QUEUE = "crawl_queue"
DRAIN, RESUME = "playbooks/drain-node.yml", "playbooks/resume-node.yml"


@dataclass
class Held:
    """The tasks that the crawler had when it was drained.

    :param running: one that it ran
    :param later: one that it kept until its time comes
    """

    running: str
    later: str


@pytest.fixture(scope="module")
def held(site: Site, chatlite: Chatlite, worker: Worker) -> Iterator[Held]:
    """Nobody consumes QUEUE in these tests: the crawler is held."""
    (later,) = chatlite.send(QUEUE, 1, countdown=3600)
    with chatlite.lasting() as crawl, site.start(DRAIN, drain_node="crawler") as drain:
        wait_for(lambda: chatlite.answers().get("crawler") == [] or drain.poll() is not None, what="the drain")
        crawl.end()
        output, _ = drain.communicate()
    Run(drain.returncode, output).succeeded()
    yield Held(crawl.task, later)
    if worker.node("crawler").show("LoadState") != "loaded":
        site.playbook(RESUME, resume_node="crawler").succeeded()


@dataclass
class Queue:
    """QUEUE, as the playbooks empty and fill it."""

    site: Site
    chatlite: Chatlite

    def messages(self) -> list[list[str]]:
        """What waits in it, for each priority."""
        return self.chatlite.messages(QUEUE)

    def fill(self, count: int) -> list[list[str]]:
        """Empty it and put as many messages into it, the priorities in turn, as Celery sends them; what waits then."""
        self.empty()
        self.chatlite.send(QUEUE, 4)
        client = self.chatlite.broker.connect()
        for key, (message,) in zip(self.chatlite.keys(QUEUE), self.messages(), strict=True):
            task = json.loads(message)["headers"]["id"]
            client.rpush(key, *(message.replace(task, str(uuid4())) for _ in range(count // 4 - 1)))
        return self.messages()

    def empty(self) -> None:
        """Remove what waits in it."""
        self.chatlite.broker.connect().delete(*self.chatlite.keys(QUEUE))

    def purge(self, *arguments: str) -> Run:
        return self.site.playbook("playbooks/purge-queue.yml", *arguments, purge_queue=QUEUE, purge_confirm="yes")

    def restore(self, path: str, *arguments: str) -> Run:
        """Put a dump's tasks back."""
        return self.site.playbook("playbooks/restore-queue.yml", *arguments, restore_queue_dump=path).succeeded()


def dump(run: Run) -> str:
    """The path of the dump that a purge has made."""
    (path,) = [word for word in run.succeeded().text.split() if word.endswith(".jsonl")]
    return path


@pytest.fixture
def queue(site: Site, chatlite: Chatlite) -> Queue:
    return Queue(site, chatlite)


def test_a_drained_node_finishes_its_task_and_gives_back_what_it_has_not_begun(
    held: Held, chatlite: Chatlite, queue: Queue
) -> None:
    assert chatlite.states([held.running]) == {"SUCCESS"}
    assert chatlite.states([held.later]) == {"PENDING"}
    assert held.later in [json.loads(message)["headers"]["id"] for step in queue.messages() for message in step]


def test_a_held_node_stays_so_over_a_drain_a_restart_site_and_a_boot(
    held: Held, site: Site, chatlite: Chatlite, worker: Worker
) -> None:
    crawler, others = worker.node("crawler"), [node for node in worker.nodes if node.name != "crawler"]
    before = {node.name: node.pid for node in others}
    further = ["playbooks/restart-workers.yml", "site.yml"]
    run = site.playbook(DRAIN, *further, drain_node="crawler", restart_nodes="crawler,processor2").succeeded()
    assert "Held before" in run.text
    assert f"Restarted {worker.node('processor2').unit}; held: {crawler.unit}" in run.text
    assert sum(run.changed.values()) == 1, run.output
    assert [node.name for node in others if node.pid != before[node.name]] == ["processor2"]

    site.docker("restart", worker.name, "-t", "60")
    wait_for_boot(worker.host)
    wait_for(lambda: set(chatlite.answers()) == {node.name for node in others}, what="the other nodes")
    said = site.status()
    states = {node["name"]: node["state"] for node in said["nodes"]}
    assert states == {crawler.address: "held", **{node.address: "running" for node in others}}
    (queue,) = [each for each in said["queues"] if each["name"] == QUEUE]
    assert (queue["unacked"], queue["consumers"]) == (0, [])


def test_a_purge_that_was_killed_goes_on(
    host: Host, held: Held, site: Site, broker: Server, app: str, queue: Queue
) -> None:
    """SIGKILL of the module in the middle, where Redis lets nobody write: nothing is lost and nothing twice."""
    before = queue.fill(12000)
    whole = sum(map(len, before))
    in_app = "celery_probe[.]py"  # the process in the application; its parent is the module, from standard input
    client = broker.connect()
    with site.start("playbooks/purge-queue.yml", purge_queue=QUEUE, purge_confirm="yes") as running:
        while client.llen(f"{app}:{QUEUE}") == len(before[0]):
            assert running.poll() is None, running.communicate()
        client.client_pause(600_000, all=False)
        try:
            host.check_output(f"kill -9 $(ps -o ppid= -p $(pgrep -f '{in_app}'))")
            output, _ = running.communicate()
        finally:
            client.client_unpause()
    assert running.returncode != 0, output
    wait_for(lambda: host.run("pgrep -f %s", in_app).rc == 1, what="the end of what the module left running")
    assert 0 < sum(map(len, queue.messages())) < whole
    queue.restore(dump(queue.purge()))
    assert queue.messages() == before
    queue.empty()


@contextmanager
def full(server: Server) -> Iterator[None]:
    """A Redis that takes no more."""
    maxmemory = server.cli("CONFIG", "GET", "maxmemory").split()[-1]
    server.cli("CONFIG", "SET", "maxmemory", "1mb")
    try:
        assert "OOM" in server.cli("SET", f"{server.variables['app_name']}:x", "y")
        yield
    finally:
        server.cli("CONFIG", "SET", "maxmemory", maxmemory)


def test_from_a_full_broker_and_back(
    host: Host, held: Held, broker: Server, chatlite: Chatlite, queue: Queue, site: Site, worker: Worker
) -> None:
    """Ids, order and priorities are the same, a second restore doubles nothing, and the tasks run."""
    queue.empty()
    sent = chatlite.send(QUEUE, 40)
    before = queue.messages()
    assert [len(each) for each in before] == [10, 10, 10, 10]
    assert f"{QUEUE} holds 40 tasks." in queue.purge("--check").succeeded().output
    assert queue.messages() == before

    with full(broker):
        path = dump(queue.purge())
    assert queue.messages() == [[], [], [], []]
    assert (host.file(path).user, host.file(path).mode) == ("root", 0o600)
    _, *lines = [json.loads(line) for line in host.file(path).content_string.splitlines()]
    assert {json.loads(line["message"])["headers"]["id"] for line in lines} == set(sent)

    assert "Would put 40 tasks back" in queue.restore(path, "--check").output
    twice = queue.restore(path, "playbooks/restore-queue.yml")
    assert f"Put 40 tasks back into {QUEUE}." in twice.text
    assert "was put back before" in twice.text
    assert set(twice.changed.values()) == {1}
    assert queue.messages() == before

    twice = site.playbook(RESUME, RESUME, resume_node="crawler").succeeded()
    assert f"Resumed {worker.node('crawler').unit}" in twice.text
    assert "Resumed nothing" in twice.text
    assert worker.node("crawler").show("UnitFileState") == "enabled"
    wait_for(lambda: chatlite.states(sent) == {"SUCCESS"}, what="the tasks' end")


def test_acl_refused_nothing(broker: Server) -> None:
    assert broker.refused() == ""
