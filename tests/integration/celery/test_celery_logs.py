"""What nodes and beat write: no line is lost, in files rotated under load or in the journal, as text or JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Substitutes, Worker
from tests.support.load import Load
from tests.support.servers import Server
from tests.support.soak import Soak
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

RATE = 150  # tasks a second, of two lines each; so many run at least between two rotations
SOFT = 2  # seconds
NODES = [
    {"name": "crawler", "queues": ["crawl_queue"], "concurrency": 2, "stop_timeout": 8},
    {"name": "rest", "queues": ["process_queue", "schedule_queue", "monitor_queue", "default"], "concurrency": 1},
]
TEXT = re.compile(r"\[\S+ \S+: INFO/[\w-]+\] Task app\.tasks\.misc\.echo\[([0-9a-f-]+)\] (received|succeeded)")
JSON_KEYS = {"time", "level", "logger", "node", "process", "message"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Logs:
    """How a fleet writes, and what it wrote."""

    def __init__(self, host: Host, app: str, to: str, form: str) -> None:
        self.host, self.app, self.to, self.form = host, app, to, form

    def lines(self, unit: str = "worker@crawler") -> list[str]:
        """Every line since ``begin``."""
        if self.to == "journal":
            # what the unit wrote, not what systemd says of it
            ours = f"_SYSTEMD_UNIT={self.app}-{unit}.service _TRANSPORT=stdout --since=@{self.begun}"
            return str(self.host.check_output(f"journalctl --quiet --output=cat --no-pager {ours}")).splitlines()
        logs = f"/var/log/{self.app}/{unit.removeprefix('worker@')}*.log*"
        said = self.host.check_output(f"for log in {logs}; do zcat -f $log || exit; printf '\\0'; done")
        # a line that crosses a page of its file may be read while its end isn't written
        return [line for file in str(said).split("\0") for line in file.split("\n")[:-1]]

    def begin(self) -> None:
        """Forget what was written before, in another form perhaps."""
        self.begun = int(self.host.check_output("date +%s"))
        # what is written to is emptied, or it would be missing until the next line
        empty = "-name '*.log' -exec truncate --size=0 {} +"
        self.host.check_output(f"find /var/log/%s -type f '(' {empty} -o -delete ')'", self.app)

    def counted(self) -> Counter[tuple[str, str]]:
        """Task id and what became of it -> how many lines say so."""
        found = []
        for line in self.lines():
            if self.form == "text":
                found += TEXT.findall(line)
                continue
            entry = json.loads(line)
            said = re.match(r"Task app\.tasks\.misc\.echo\[\S+\] (received|succeeded)", entry["message"])
            if said:
                assert entry["task_name"] == "app.tasks.misc.echo"
                found.append((entry["task_id"], said[1]))
        return Counter(found)


@pytest.fixture(scope="module", params=["files-text", "files-json", "journal-json"])
def logs(request: pytest.FixtureRequest, worker: Worker, substitutes: Substitutes) -> Logs:
    """The inventory's fleet, which writes text to files, or NODES, which write another way."""
    to, form = request.param.split("-")
    if request.param != "files-text":
        writing = {"celery_log_to": to, "celery_log_format": form}
        substitutes.run(worker, celery_nodes=NODES, celery_soft_shutdown_timeout=SOFT, **writing)
    found = Logs(worker.host, worker.app, to, form)
    found.begin()
    return found


@pytest.mark.soak
def test_no_line_is_lost_under_load(host: Host, logs: Logs, broker: Server, soak: Soak) -> None:
    """While the files are rotated again and again, less often than it takes to remove one."""
    rotations = soak.size(3, 12)
    rotate = f"logrotate --force /etc/logrotate.d/{logs.app}"
    if logs.to == "journal":
        rotate = "journalctl --rotate"

    def succeeded() -> int:
        return Counter(what for _, what in logs.counted())["succeeded"]

    def go_on() -> None:
        least = succeeded() + RATE
        wait_for(lambda: succeeded() >= least, what="more tasks")

    with Load(broker, logs.app, rate=RATE, name="app.tasks.misc.echo", args=("x",), queue="crawl_queue") as load:
        go_on()
        for _ in range(rotations):
            host.check_output(rotate)
            go_on()
    ids = load.submitted
    wait_for(lambda: len(logs.counted()) == 2 * len(ids), what="two lines of every task")
    counted, expected = logs.counted(), Counter((task, what) for task in ids for what in ("received", "succeeded"))
    ran = Counter(task for task, what in counted.elements() if what == "succeeded")
    soak.measured(
        f"{logs.form} logs ({logs.to}) rotated {rotations} times: {(expected - counted).total()} of "
        f"{expected.total():,} lines missing",
        submitted=len(ids),
        lost=len(set(ids) - set(ran)),
        twice=sum(times > 1 for times in ran.values()),
    )
    assert counted == expected
    if logs.to == "files":
        rotated = host.check_output("ls /var/log/%s", logs.app).split()
        assert f"crawler-1.log.{rotations}.gz" in rotated  # a process of the pool wrote between any two of them
        assert not [name for name in rotated if name.endswith(".backup")]


@pytest.mark.parametrize("unit", ["worker@crawler", "beat"])
def test_each_line_is_an_object_with_what_an_operator_looks_for(logs: Logs, unit: str, worker: Worker) -> None:
    if logs.form == "text":
        pytest.skip("this fleet writes text")
    entries = [json.loads(line) for line in wait_for(lambda: logs.lines(unit), what="lines")]
    for entry in entries:
        assert set(entry) >= JSON_KEYS
        assert TIME.fullmatch(entry["time"])
        assert entry["node"].endswith(worker.hostname)
    assert {entry["node"] for entry in entries if entry["message"].endswith("ready.")} <= {
        worker.node("crawler").address
    }


def test_a_failed_task_is_one_line_with_its_traceback(logs: Logs, worker: Worker) -> None:
    if logs.form == "text":
        pytest.skip("this fleet writes text")
    # by its name, or else the sender would check the arguments
    task = worker.evaluate("result = app.send_task('app.tasks.misc.echo', (1, 2, 3), queue='crawl_queue').id")

    def failure() -> dict[str, Any] | None:
        entries = [json.loads(line) for line in logs.lines()]
        return next((each for each in entries if each.get("task_id") == task and "exception" in each), None)

    entry = wait_for(failure, what="the failure's line")
    assert entry["level"] == "ERROR"
    assert entry["exception"].startswith("Traceback")
    assert "TypeError" in entry["exception"]


def test_only_files_are_rotated(host: Host, logs: Logs) -> None:
    assert host.file(f"/etc/logrotate.d/{logs.app}").exists is (logs.to == "files")


def test_each_node_is_supervised_with_its_pid_file(host: Host, logs: Logs, worker: Worker) -> None:
    crawler = worker.node("crawler")
    assert host.file(f"/run/{logs.app}-crawler/crawler.pid").content_string.strip() == str(crawler.pid)
    assert "worker" in " ".join(crawler.arguments())


@pytest.mark.parametrize(("seconds", "state"), [(4, "SUCCESS"), (60, "RETRY")])
def test_a_stop_waits_or_hands_back_however_the_node_writes(
    logs: Logs, worker: Worker, chatlite: Chatlite, broker: Server, seconds: int, state: str
) -> None:
    """The queue's messages: a task that was handed back is one of them again."""
    if logs.to == "files":
        pytest.skip("tests/integration/celery/test_celery_stopping.py has it")
    crawler = worker.node("crawler")
    task, _ = chatlite.crawl(seconds)
    crawler.stop()
    assert crawler.show("Result") == "success"
    waiting = broker.cli("LRANGE", f"{logs.app}:crawl_queue", "0", "-1").replace("\\", "")
    assert (f'"id": "{task}"' in waiting) is (state == "RETRY")
    chatlite.evaluate(f"app.control.revoke({task!r})\nresult = 0")
    broker.cli("DEL", f"{logs.app}:crawl_queue")
    crawler.start()
    chatlite.wait_for_nodes(len(NODES))
