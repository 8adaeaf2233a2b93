"""What nodes and beat write: no line is lost, in files rotated under load or in the journal, as text or JSON."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

COUNT = 2_500  # tasks, of two lines each
ROTATIONS = 8
NODES = [
    {"name": "one", "queues": ["crawl_queue"], "concurrency": 2, "stop_timeout": 8},
    {"name": "rest", "queues": ["process_queue", "schedule_queue", "monitor_queue", "default"], "concurrency": 1},
]
TEXT = re.compile(r"\[\S+ \S+: INFO/[\w-]+\] Task app\.tasks\.misc\.echo\[([0-9a-f-]{36})\] (received|succeeded)")
JSON_KEYS = {"time", "level", "logger", "node", "process", "message"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Logs:
    """How a fleet writes, and what it wrote."""

    def __init__(self, host: Host, app: str, to: str, form: str) -> None:
        self.host, self.app, self.to, self.form = host, app, to, form

    def lines(self, unit: str = "worker@one") -> list[str]:
        """Every line since ``begin``."""
        if self.to == "journal":
            # what the unit wrote, not what systemd says of it
            ours = f"_SYSTEMD_UNIT={self.app}-{unit}.service _TRANSPORT=stdout --since=@{self.begun}"
            return str(self.host.check_output(f"journalctl --quiet --output=cat --no-pager {ours}")).splitlines()
        name = unit.removeprefix("worker@")
        return str(self.host.check_output(f"zcat -f /var/log/{self.app}/{name}*.log*")).splitlines()

    def begin(self) -> None:
        """Forget what was written before, in another form perhaps."""
        self.begun = int(self.host.check_output("date +%s"))
        self.host.check_output("rm -f /var/log/%s/*", self.app)

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


@pytest.fixture(scope="module")
def converge(host: Host, playbook: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """Run the celery role on this host; the inventory's own fleet afterwards."""

    def run(**variables: Any) -> None:
        done = playbook("playbooks/workers.yml", f"--limit={host.backend.host}", "--tags=celery", **variables)
        assert done.returncode == 0, done.output

    yield run
    run()


@pytest.fixture(scope="module", params=["files-text", "files-json", "journal-json"])
def logs(request: pytest.FixtureRequest, host: Host, converge: Callable[..., None], inventory: Any) -> Logs:
    """NODES on this host, that write one way or another."""
    to, form = request.param.split("-")
    converge(celery_nodes=NODES, celery_log_to=to, celery_log_format=form)
    found = Logs(host, inventory[host.backend.host]["app_name"], to, form)
    found.begin()
    return found


def test_no_line_is_lost_under_load(host: Host, logs: Logs, in_app: Callable[[str], Any], wait_for: Callable) -> None:
    """While the files are rotated again and again."""
    before = time.monotonic()
    ids = in_app(
        "from app.tasks.misc import echo\n"
        f"result = [echo.apply_async((str(n),), queue='crawl_queue').id for n in range({COUNT})]"
    )
    rotate = f"logrotate --force /etc/logrotate.d/{logs.app}"
    if logs.to == "journal":
        rotate = "journalctl --rotate"
    done = 0
    for _ in range(ROTATIONS):
        host.check_output(rotate)
        least = min(done + COUNT // (2 * ROTATIONS), COUNT)
        done = wait_for(
            lambda least=least: (found := Counter(what for _, what in logs.counted())["succeeded"]) >= least and found,
            timeout=60,
            what="more tasks",
        )
    wait_for(lambda: len(logs.counted()) == 2 * COUNT, timeout=120, what="two lines of every task")
    took = time.monotonic() - before
    counted = logs.counted()
    assert counted == Counter((task, what) for task in ids for what in ("received", "succeeded"))
    print(
        f"\n{logs.to}, {logs.form}: {2 * COUNT} lines in {took:.0f} s over {ROTATIONS} rotations, none lost or doubled"
    )
    if logs.to == "files":
        rotated = host.check_output("ls /var/log/%s", logs.app).split()
        assert f"one-1.log.{ROTATIONS}.gz" in rotated  # a process of the pool wrote between any two of them
        assert not [name for name in rotated if name.endswith(".backup")]


@pytest.mark.parametrize("unit", ["worker@one", "beat"])
def test_each_line_is_an_object_with_what_an_operator_looks_for(logs: Logs, unit: str, host: Host) -> None:
    if logs.form == "text":
        pytest.skip("this fleet writes text")
    entries = [json.loads(line) for line in logs.lines(unit)]
    assert entries
    hostname = host.check_output("hostname")
    for entry in entries:
        assert set(entry) >= JSON_KEYS
        assert TIME.fullmatch(entry["time"])
        assert entry["node"].endswith(hostname)
    assert {entry["node"] for entry in entries if entry["message"].endswith("ready.")} <= {f"one@{hostname}"}


def test_a_failed_task_is_one_line_with_its_traceback(logs: Logs, in_app: Callable, wait_for: Callable) -> None:
    if logs.form == "text":
        pytest.skip("this fleet writes text")
    # by its name, or else the sender would check the arguments
    task = in_app("result = app.send_task('app.tasks.misc.echo', (1, 2, 3), queue='crawl_queue').id")

    def failure() -> dict[str, Any] | None:
        entries = [json.loads(line) for line in logs.lines()]
        return next((each for each in entries if each.get("task_id") == task and "exception" in each), None)

    entry = wait_for(failure, what="the failure's line")
    assert entry["level"] == "ERROR"
    assert entry["exception"].startswith("Traceback")
    assert "TypeError" in entry["exception"]


def test_only_files_are_rotated(host: Host, logs: Logs) -> None:
    assert host.file(f"/etc/logrotate.d/{logs.app}").exists is (logs.to == "files")


def test_each_node_is_supervised_with_its_pid_file(host: Host, logs: Logs) -> None:
    unit = f"{logs.app}-worker@one.service"
    main = host.check_output("systemctl show --value --property=MainPID %s", unit)
    assert host.file(f"/run/{logs.app}-one/one.pid").content_string.strip() == main
    assert "worker" in host.check_output("tr '\\0' ' ' < /proc/%s/cmdline", main)


@pytest.mark.parametrize(("seconds", "state"), [(4, "SUCCESS"), (60, "RETRY")])
def test_a_stop_waits_or_hands_back_however_the_node_writes(
    host: Host, logs: Logs, in_app: Callable, wait_for: Callable, seconds: int, state: str, redis_cli: Callable
) -> None:
    """The queue's messages: a task that was handed back is one of them again."""
    if logs.to == "files":
        pytest.skip("tests/integration/celery/test_celery_stopping.py has it")
    unit = f"{logs.app}-worker@one.service"
    task = in_app(
        "from app.tasks.crawl import crawl_site\n"
        f"result = crawl_site.apply_async(('http://testsite/slow/{seconds}', 0)).id"
    )
    active = "result = [one['id'] for each in (app.control.inspect(timeout=1).active() or {}).values() for one in each]"
    wait_for(lambda: task in in_app(active), what="the crawl's start")
    host.check_output("systemctl stop %s", unit)
    assert host.check_output("systemctl show --value --property=Result %s", unit) == "success"
    waiting = redis_cli("LRANGE", f"{logs.app}:crawl_queue", "0", "-1").replace("\\", "")
    assert (f'"id": "{task}"' in waiting) is (state == "RETRY")
    in_app(f"app.control.revoke({task!r})\nresult = 0")
    redis_cli("DEL", f"{logs.app}:crawl_queue")
    host.check_output("systemctl start %s", unit)
    pong = "result = len(app.control.ping(timeout=1))"
    wait_for(lambda: in_app(pong) == len(NODES), what="the answers of all nodes")
