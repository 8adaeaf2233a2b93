"""What a broker accepted is there after a crash, and a full disk or memory loses nothing: with real Celery messages."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from testinfra.host import Host

from tests.support.servers import Server
from tests.support.soak import Soak
from tests.support.waiting import PATIENCE, wait_for

testinfra_hosts = ["ansible://redis"]
pytestmark = pytest.mark.destructive

TASKS = 2_000  # which fill a memory or a disk of a megabyte
LOAD = 1.5  # seconds before a kill: of the first tasks none may be lost, of those of the last second some may
QUEUE = "celeriac-test"
Submit = Callable[[int], object]


@pytest.fixture
def keeping(reachable: Server) -> Iterator[Server]:
    """An instance that keeps what it accepts, and that an application with the key prefix ``shop:`` may use."""
    if reachable.instance["profile"] == "cache" or "shop" not in [user["name"] for user in reachable.users]:
        pytest.skip("the instance keeps no queues, or has no user shop")
    yield reachable
    reachable.cli("DEL", f"shop:{QUEUE}")


@pytest.fixture
def submit(keeping: Server) -> Submit:
    """Send a task with a number, as a producer would; raises what the producer gets."""
    scheme, query = ("rediss", f"?ssl_cert_reqs=required&ssl_ca_certs={keeping.ca}") if keeping.tls else ("redis", "")
    app = Celery(broker=f"{scheme}://{keeping.address}:{keeping.port}/0{query}", set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": "shop:", "socket_timeout": 5}
    app.conf.task_publish_retry = False
    connection = app.connection_for_write(userid="shop", password=keeping.password("shop"))
    producer = app.amqp.Producer(connection)
    return lambda number: app.send_task("any", args=[number], queue=QUEUE, producer=producer, retry=False)


def queued(server: Server) -> set[int]:
    """The numbers of the tasks in the queue."""
    client = server.connect()
    messages = client.lrange(f"shop:{QUEUE}", 0, -1)
    return {json.loads(message["headers"]["argsrepr"].strip("[]")) for message in map(json.loads, messages)}


@pytest.mark.soak
def test_a_kill_under_load_loses_nothing_that_was_acknowledged_a_second_before(
    keeping: Server, submit: Submit, soak: Soak
) -> None:
    """And with ``appendfsync always`` nothing at all."""
    acknowledged: dict[int, float] = {}
    enough, least = threading.Event(), soak.size(TASKS, 10_000)

    def produce() -> None:
        for number in itertools.count():
            try:
                submit(number)
            except (redis.RedisError, OperationalError, OSError):
                return
            acknowledged[number] = time.monotonic()
            if number >= least and acknowledged[number] - acknowledged[0] > LOAD:
                enough.set()

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        assert enough.wait(PATIENCE), f"only {len(acknowledged)} tasks were accepted"
        killed = time.monotonic()
        before = keeping.pid()
        keeping.host.check_output("systemctl kill --signal=KILL %s", keeping.unit)
    finally:
        producer.join()
    wait_for(lambda: keeping.pid() not in ("0", before) and keeping.cli("PING") == "PONG", what="the server")
    lost = acknowledged.keys() - queued(keeping)
    host = keeping.host.backend.host
    soak.measured(f"kill -9 of {keeping.unit} on {host}", submitted=len(acknowledged), lost=len(lost), twice=0)
    always = keeping.instance.get("config", {}).get("appendfsync") == "always"
    assert [number for number in lost if always or acknowledged[number] < killed - 1] == []


def refused(submit: Submit, limit: int) -> tuple[set[int], Exception]:
    """Submit until the producer gets an error; the tasks that were accepted, and the error."""
    accepted: set[int] = set()
    for number in range(limit):
        try:
            submit(number)
        except (redis.RedisError, OperationalError) as error:
            return accepted, error
        accepted.add(number)
    pytest.fail(f"{limit} tasks were accepted")


def goes_through(submit: Submit, number: int) -> bool:
    """Submit a task, over a connection that may have to be made anew."""
    try:
        submit(number)
    except (redis.RedisError, OperationalError, OSError):
        return False
    return True


def test_full_memory_is_a_loud_error_and_loses_nothing(keeping: Server, submit: Submit) -> None:
    before = keeping.cli("CONFIG", "GET", "maxmemory").splitlines()[1]
    used = int(keeping.connect().info("memory")["used_memory"])
    assert keeping.cli("CONFIG", "SET", "maxmemory", str(used + 2**20)) == "OK"
    try:
        accepted, error = refused(submit, TASKS)
        assert "used memory > 'maxmemory'" in str(error)
        assert accepted
        assert queued(keeping) == accepted
        assert keeping.connect().info("stats")["evicted_keys"] == 0
    finally:
        keeping.cli("CONFIG", "SET", "maxmemory", before)
    submit(TASKS)
    assert queued(keeping) == {*accepted, TASKS}


def test_a_full_disk_is_a_loud_error_and_loses_nothing(keeping: Server, submit: Submit) -> None:
    host, data = keeping.host, keeping.data
    host.check_output("systemctl stop %s", keeping.unit)
    host.check_output(f"mount -t tmpfs -o size=1m,mode=750,uid=$(id -u {keeping.flavor}) tmpfs {data}")
    host.check_output("systemctl start %s", keeping.unit)
    try:
        accepted, error = refused(submit, 3 * TASKS)
        if keeping.instance.get("config", {}).get("appendfsync") == "always":
            assert "closed" in str(error)  # it ends instead of taking what it can't sync
        else:
            assert "MISCONF" in str(error)
            assert queued(keeping) == accepted
        host.check_output(f"mount -o remount,size=64m {data}")
        wait_for(lambda: keeping.cli("SET", "shop:works", "again", "EX", "60") == "OK", what="a write")
        wait_for(lambda: goes_through(submit, 3 * TASKS), what="a task")
        wait_for(lambda: keeping.connect().info("persistence")["aof_pending_bio_fsync"] == 0, what="the fsync")
        before = keeping.pid()
        host.check_output("systemctl kill --signal=KILL %s", keeping.unit)
        wait_for(lambda: keeping.pid() not in ("0", before) and keeping.cli("PING") == "PONG", what="the server")
        assert queued(keeping) == {*accepted, 3 * TASKS}
    finally:
        host.check_output("systemctl stop %s", keeping.unit)
        host.check_output(f"umount {data}")
        host.check_output("systemctl start %s", keeping.unit)


def test_transactions_survive_a_kill(keeping: Server) -> None:
    """kombu acknowledges in transactions, which the server replays as the default user (decision 0004)."""
    with keeping.connect().pipeline(transaction=True) as pipe:
        pipe.set("celeriac:test:1", "kept")
        pipe.set("celeriac:test:2", "kept")
        assert pipe.execute() == [True, True]
    wait_for(lambda: keeping.connect().info("persistence")["aof_pending_bio_fsync"] == 0, what="the fsync")
    before = keeping.pid()
    keeping.host.check_output("systemctl kill --signal=KILL %s", keeping.unit)
    wait_for(lambda: keeping.pid() not in ("0", before) and keeping.cli("PING") == "PONG", what="the server")
    assert [keeping.cli("GETDEL", f"celeriac:test:{number}") for number in (1, 2)] == ["kept", "kept"]


def test_a_clean_stop_keeps_everything(host: Host, keeping: Server, submit: Submit) -> None:
    for number in range(100):
        submit(number)
    host.check_output("systemctl restart %s", keeping.unit)
    assert queued(keeping) == set(range(100))
