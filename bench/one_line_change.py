"""A change of one line in an application, until each of a host's two nodes answers with it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from bench.figure import Figure, Panel
from bench.lab import CHATLITE, CLIENT, Environment, Lab, alone, client
from bench.no_change import told
from bench.record import Result, Trial, medians
from bench.timing import BenchError

AIM = 10.0
TASK = "bench.release"
# added to chatlite: a task that answers with a line of the source
ADDED = '''

RELEASE = "0"


@app.task(bind=True, name="{task}")
def release(self: ChatliteTask) -> list[str]:
    """Return the release that runs and its node."""
    return [RELEASE, self.node]
'''
QUEUES = ("crawl_queue", "process_queue", "schedule_queue", "monitor_queue", "default")
# what the two nodes consume, by series
SERIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "queues of their own": (QUEUES[:1], QUEUES[1:]),
    "the same queues": (QUEUES, QUEUES),
}
LIVE = "the last node answers, s"


def variables(application: Path, queues: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, Any]:
    """Those of an environment with two nodes of chatlite."""
    return {
        "app_name": "chatlite",
        "app_source": {"type": "path", "path": str(application)},
        "celery_app": "app.core.celery_config",
        "celery_routed_queues": list(QUEUES),
        "celery_nodes": [
            {"name": name, "queues": list(its), "concurrency": 2}
            for name, its in zip(("first", "second"), queues, strict=True)
        ],
        "redis_instances": [{"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "256mb"}],
    }


class OneLineChange(Figure):
    """``one-line-change``."""

    name: ClassVar = "one-line-change"
    title: ClassVar = "A changed line of chatlite live on a host with two nodes"
    settings: ClassVar = {
        "host": "a Debian 13 container with Redis, two nodes and beat",
        "clock": "from the start of ansible-playbook playbooks/deploy.yml until a node answers with the new line",
        "answers": "two tasks are on their way through each queue all the time, looked at every 20 ms",
    }
    panels: ClassVar = (Panel(LIVE, "seconds until the last node answers with the new line", tuple(SERIES)),)

    def measure(self, lab: Lab) -> None:
        pairs = [Pair(lab, series, queues) for series, queues in SERIES.items()]
        first, second = (pair.environment for pair in pairs)
        with first.up(), second.up():
            for pair in pairs:
                pair.environment.play("site.yml")
            for number in lab.rounds:
                for pair in pairs:
                    with lab.trial(pair.series, number) as found:
                        found.update(pair.deploy(str(number)))

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        found = medians(trials)
        return [Result(f"the last node answers, {series}", found[series, 1][LIVE], AIM, "s") for series in SERIES]


class Pair:
    """Two nodes on a host, and the directory that their application comes from."""

    def __init__(self, lab: Lab, series: str, queues: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        self.series, self.queues = series, list(dict.fromkeys(queue for its in queues for queue in its))
        name = series.replace(" ", "-")
        application = lab.application(name, CHATLITE)
        self.file = application / "app/tasks/misc.py"
        self.file.write_text(self.file.read_text(encoding="utf-8") + ADDED.format(task=TASK), encoding="utf-8")
        self.environment = Environment(lab, name, alone("host1"), variables(application, queues))

    def deploy(self, release: str) -> dict[str, Any]:
        """Change the line, deploy, and tell when each node answered with it."""
        self.file.write_text(changed(self.file.read_text(encoding="utf-8"), release), encoding="utf-8")
        with self._watched(release) as answers:
            began = time.time()
            run = self.environment.play("playbooks/deploy.yml")
            answered = [at - began for at, _ in answers]
        found = told(run)
        when = {LIVE: round(max(answered), 3), "the first node answers, s": round(min(answered), 3)}
        return {**found, "values": {**when, **found["values"]}}

    @contextmanager
    def _watched(self, release: str) -> Iterator[Iterator[tuple[float, str]]]:
        """When each node first answers with ``release``, and which it is, once both have answered at all."""
        watch = ["watch", "app.core.celery_config", TASK, *self.queues, f"--release={release}", "--nodes=2"]
        command = [
            "docker",
            "exec",
            "--interactive",
            self.environment.container("host1"),
            "chatlite-run",
            *client(*watch),
        ]
        with (
            CLIENT.open("rb") as program,
            subprocess.Popen(command, text=True, stdin=program, stdout=subprocess.PIPE) as watcher,
        ):
            assert watcher.stdout  # noqa: S101 - it is a pipe
            try:
                if watcher.stdout.readline() != '[0, ""]\n':
                    raise BenchError("the nodes don't answer; what the client on the host said stands above.")
                yield (tuple(json.loads(line)) for line in watcher.stdout)
            except BaseException:
                watcher.kill()
                raise
        if watcher.returncode:
            raise BenchError(f"no node answered with the release {release} in time.")


def changed(source: str, release: str) -> str:
    """The application's source with another release, in one line."""
    lines = source.splitlines(keepends=True)
    (at,) = (number for number, line in enumerate(lines) if line.startswith("RELEASE = "))
    lines[at] = f'RELEASE = "{release}"\n'
    return "".join(lines)
