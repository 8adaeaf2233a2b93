"""What the celery role runs beside the application: start and stop of a node, JSON logs, beat that says it is up."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import celeriac_json
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

PROGRAMS = ROOT / "roles/celery/files/usr/local/lib/celeriac"
SHOP = """
from celery import Celery
app = Celery("shop", broker="memory://")
app.conf.beat_schedule = {"tick": {"task": "shop.tick", "schedule": 1.0}}
app.conf.broker_transport_options = {"global_keyprefix": "shop:", "socket_timeout": 5, "visibility_timeout": 60}

@app.task(name="shop.tick")
def tick():
    pass
"""


def record(message: str = "said %s", *arguments: Any, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("celery.x", logging.WARNING, __file__, 1, message, arguments, more.pop("exc_info", None))
    vars(made).update(more)
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    text = celeriac_json.JSONFormatter().format(made)
    assert text.isascii()
    assert "\n" not in text
    return dict(json.loads(text))


# -- start and stop


def test_a_node_finds_our_modules_before_its_own(tmp_path: Path) -> None:
    """By celery multi too, which starts a node as a child of its own; each argument arrives as it is."""
    command = ["/bin/sh", str(PROGRAMS / "celeriac_start.sh"), "sh", "-c", 'printf "%s\\n" "$PYTHONPATH" "$@"', "sh"]
    for own, path in (({}, f"{PROGRAMS}"), ({"PYTHONPATH": "/srv/modules"}, f"{PROGRAMS}:/srv/modules")):
        environ = {**own, "PATH": os.environ["PATH"]}
        said = subprocess.check_output([*command, "two words", "$HOME"], env=environ, text=True)
        assert said.splitlines() == [path, "two words", "$HOME"]


def test_a_start_is_the_command_itself() -> None:
    """systemd watches the process that it started, and hears its exit code."""
    command = ["/bin/sh", str(PROGRAMS / "celeriac_start.sh"), "sh", "-c", "echo $$; exit 3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid
    assert process.returncode == 3


# Ignores the signals it is given, and no others: a shell in the background would have it ignore SIGQUIT too.
STUBBORN = """
import signal, sys, time
for name in ("SIGTERM", "SIGQUIT"):
    signal.signal(getattr(signal, name), signal.SIG_IGN if name in sys.argv else signal.SIG_DFL)
print(flush=True)
time.sleep(600)
"""
LONG = 3600  # seconds


@contextmanager
def stubborn(*ignored: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ignores signals."""
    with subprocess.Popen([sys.executable, "-c", STUBBORN, *ignored], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def stop(pid: int | None, *steps: str) -> subprocess.Popen[bytes]:
    """Stop a process as ``ExecStop=`` does, with nowhere to write to."""
    environ = {"PATH": os.environ["PATH"]} | ({} if pid is None else {"MAINPID": str(pid)})
    return subprocess.Popen(
        ["/bin/sh", str(PROGRAMS / "celeriac_stop.sh"), *steps],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("ignored", "timeouts", "status", "least"),
    [([], (LONG, LONG), -15, 0), (["SIGTERM"], (1, LONG), -3, 1), (["SIGTERM", "SIGQUIT"], (1, 1), -9, 2)],
)
def test_a_stop_is_sigterm_then_sigquit_then_sigkill(
    ignored: list[str], timeouts: tuple[int, int], status: int, least: int
) -> None:
    """Each ends the process at once, unless it ignores it for the seconds that the signal has."""
    with stubborn(*ignored) as process:
        begun = time.monotonic()
        # the one who waits for the process reaps it, as systemd does
        with stop(process.pid, "TERM", str(timeouts[0]), "QUIT", str(timeouts[1])) as stopping:
            assert process.wait(PATIENCE) == status
            assert time.monotonic() - begun >= least
            assert stopping.communicate(timeout=PATIENCE) == (b"", b"")
        assert stopping.returncode == 0


def test_a_stop_without_steps_kills() -> None:
    with stubborn("SIGTERM", "SIGQUIT") as process, stop(process.pid):
        assert process.wait(PATIENCE) == -9


def test_a_stop_of_what_is_gone_does_nothing() -> None:
    with stop(None, "TERM", "60", "QUIT", "40") as stopping:
        assert stopping.communicate(timeout=PATIENCE) == (b"", b"")
    assert stopping.returncode == 0


def test_a_stop_of_what_ended_meanwhile_is_done() -> None:
    with stubborn() as process:
        process.kill()
    for steps in (["TERM", "60"], []):
        with stop(process.pid, *steps) as stopping:
            stopping.communicate(timeout=PATIENCE)
        assert stopping.returncode == 0


# -- JSON


@given(st.text() | st.binary() | st.integers() | st.lists(st.text()))
def test_whatever_is_said_is_one_line(said: Any) -> None:
    assert line(record("said %s", said))["message"] == f"said {said}"


def test_a_line_has_what_every_line_has() -> None:
    found = line(record("plain"))
    assert set(found) == {"time", "level", "logger", "node", "process", "message"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["time"])
    assert (found["level"], found["logger"], found["message"]) == ("WARNING", "celery.x", "plain")


def test_the_time_is_utc() -> None:
    assert line(record("plain", created=0.25))["time"] == "1970-01-01T00:00:00.250000Z"


def test_arguments_that_do_not_fit_are_kept_as_they_are() -> None:
    assert line(record("a %s b %s", 1))["message"] == "a %s b %s (1,)"


def test_celerys_own_lines_name_their_task() -> None:
    data = {"id": "an-id", "name": "shop.pay", "args": "('secret',)"}
    found = line(record("plain", data=data))
    assert (found["task_id"], found["task_name"]) == ("an-id", "shop.pay")
    assert "secret" not in str(found)


def test_a_tasks_own_lines_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Task:
        name = "shop.pay"

        class request:  # noqa: N801 - as in Celery
            id = "an-id"

    monkeypatch.setattr(celeriac_json, "get_current_task", Task)
    found = line(record("plain"))
    assert (found["task_id"], found["task_name"]) == ("an-id", "shop.pay")


def test_an_exception_is_in_the_same_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        found = line(record("failed", exc_info=sys.exc_info()))
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("ValueError: first\nsecond\n")


def test_a_formatter_that_is_not_celerys_stays() -> None:
    logger, own, celerys = logging.Logger("x"), logging.StreamHandler(), logging.StreamHandler()
    mine = logging.Formatter("%(message)s")
    own.setFormatter(mine)
    celerys.setFormatter(celeriac_json.ColorFormatter())
    logger.handlers = [own, celerys]
    celeriac_json.use_json(logger=logger)
    assert own.formatter is mine
    assert isinstance(celerys.formatter, celeriac_json.JSONFormatter)


# -- beat


class Beat:
    """celeriac_beat.py with an application of its own, and the socket that systemd would listen at."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(directory / "notify"))
        self.socket.settimeout(PATIENCE)
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str, form: str = "text", shop: str = SHOP) -> subprocess.Popen[str]:
        (self.directory / "shop.py").write_text(shop)
        command = [sys.executable, "-P", str(PROGRAMS / "celeriac_beat.py"), form, "--quiet", "--app=shop", "beat"]
        command += [f"--schedule={self.directory}/schedule", "--loglevel=info", "--pidfile=", *options]
        # whoever runs the tests, and the example's own, may have set the application's variables
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
        environ["NOTIFY_SOCKET"] = str(self.directory / "notify")
        self.process = subprocess.Popen(command, cwd=self.directory, env=environ, stderr=subprocess.PIPE, text=True)
        return self.process

    def said(self) -> str:
        """What systemd hears next."""
        return self.socket.recv(1024).decode()

    def passed(self) -> None:
        """Wait for the first pass over the schedule; on a busy machine beat may say before it that it waits."""
        while self.said() != "READY=1\nSTATUS=Sends what is due":
            pass

    def close(self) -> None:
        self.socket.close()
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def beat(tmp_path: Path) -> Iterator[Beat]:
    made = Beat(tmp_path)
    yield made
    made.close()


def test_systemd_hears_of_the_first_pass(beat: Beat) -> None:
    process = beat.start()
    beat.passed()
    process.terminate()
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "beat: Starting..." in said


def test_one_that_waits_for_a_lock_is_up_too(beat: Beat) -> None:
    """As redbeat's receiver does, connected when the application is imported."""
    waits = (
        "from celery.signals import beat_init\n@beat_init.connect\ndef wait(**_):\n    import time; time.sleep(3600)\n"
    )
    beat.start(shop=SHOP + waits)
    assert beat.said() == "READY=1\nSTATUS=Waiting for the lock or the broker"


@pytest.mark.parametrize("logfile", [True, False])
def test_one_that_dies_says_why_where_its_unit_can_tell(beat: Beat, logfile: bool) -> None:
    broken = "class Broken(beat.Scheduler):\n    def tick(self):\n        raise OSError('no luck')\n"
    options = ["--scheduler=shop.Broken"] + [f"--logfile={beat.directory}/beat.log"] * logfile
    process = beat.start(*options, shop=f"{SHOP}\nfrom celery import beat\n{broken}")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "OSError: no luck" in said
    beat.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        beat.said()  # it never was up
    if logfile:
        assert "OSError: no luck" in (beat.directory / "beat.log").read_text()


def test_beats_lines_are_json_too(beat: Beat) -> None:
    process = beat.start(form="json")
    beat.passed()
    process.terminate()
    _, said = process.communicate(timeout=PATIENCE)
    entries = [json.loads(each) for each in said.splitlines()]
    assert "beat: Starting..." in [entry["message"] for entry in entries]
    assert {entry["node"] for entry in entries} == {f"beat@{socket.gethostname()}"}


REDBEAT = "redbeat_redis_url redbeat_key_prefix redbeat_redis_options".split()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ["memory://", "shop:redbeat:", {"socket_timeout": 5}]),
        ({"redbeat_redis_url": "redis://else"}, ["redis://else", "shop:redbeat:", {"socket_timeout": 5}]),
        (
            {"redbeat_key_prefix": "x:", "redbeat_redis_options": {"retry_period": 9}},
            ["memory://", "x:", {"retry_period": 9}],
        ),
    ],
)
def test_redbeat_is_given_what_the_application_does_not_say(
    beat: Beat, own: dict[str, Any], expected: list[Any], tmp_path: Path
) -> None:
    out = tmp_path / "conf"
    looks = (
        "import json\nfrom celery import beat\nclass Looking(beat.Scheduler):\n    def setup_schedule(self):\n"
        f"        open({str(out)!r}, 'w').write(json.dumps([self.app.conf[key] for key in {REDBEAT!r}]))\n"
    )
    beat.start("--scheduler=shop.Looking", shop=f"{SHOP}\napp.conf.update({own!r})\n{looks}")
    beat.passed()
    assert json.loads(out.read_text()) == expected
