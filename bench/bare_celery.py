"""Tasks that do nothing: through a node that Celeriac has deployed, beside a bare ``celery worker`` on stock Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from bench.figure import Figure, Panel
from bench.first_run import GIVEN_AT, archive
from bench.lab import APPLICATION, CHATLITE, CLIENT, Environment, Lab, alone, client
from bench.machine import ROOT
from bench.record import Result, Trial, paired_ratio

BARE, OURS, OURS_TLS = "bare celery worker", "Celeriac", "Celeriac, TLS"
CONCURRENCY = 2
QUEUE = "celery"
LOAD = ("load", "bench_app", "bench_app.nothing", QUEUE)
RATE, MEDIAN, TAIL = "tasks per second", "round trip p50 ms", "round trip p95 ms"  # as the client calls them
SCRIPT = "bench/remote/bare_celery.sh"
GIVEN = {
    "bare_celery.sh": ROOT / SCRIPT,
    "app": APPLICATION,
    "requirements.txt": CHATLITE / "requirements.txt",
    "uv.txt": ROOT / "plugins/data/uv/requirements.txt",
    "lib.sh": ROOT / "tools/lib.sh",
}
IN_APP = (
    "cd /opt/bench; . ./env; PATH=/opt/bench/.venv/bin:$PATH; "
    'exec setpriv --reuid bench --regid bench --clear-groups -- "$@"'
)


def variables(lab: Lab, name: str, *, tls: bool) -> dict[str, Any]:
    """Those of an environment with one node."""
    return {
        "app_name": "bench",
        "app_source": {"type": "path", "path": str(lab.application(name))},
        "celery_app": "bench_app",
        "celery_routed_queues": [QUEUE],
        "celery_nodes": [{"name": "node", "queues": [QUEUE], "concurrency": CONCURRENCY}],
        "redis_instances": [{"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "256mb"}],
        "redis_tls_enabled": tls,
    }


class BareCelery(Figure):
    """``bare-celery``."""

    name: ClassVar = "bare-celery"
    title: ClassVar = "Tasks that do nothing through one node"
    settings: ClassVar = {
        "hosts": "a Debian 13 container each, with Redis, the node and the client on it; all stay up",
        BARE: f"{SCRIPT}: the same lock and application, concurrency {CONCURRENCY}, Debian's redis-server as it comes",
        OURS: "the sandbox of units, users of Redis with the least rights, an append-only file",
        RATE: "10,000 tasks sent one by one while the node works, until the last is done; the client is on its host",
        MEDIAN: "500 tasks, each sent when the one before is done",
    }
    panels: ClassVar = (
        Panel(RATE, "tasks per second", (BARE, OURS, OURS_TLS)),
        Panel(MEDIAN, "round trip, ms (median of 500)", (BARE, OURS, OURS_TLS)),
    )

    def measure(self, lab: Lab) -> None:
        hosts = alone("host1")
        bare = Environment(lab, "bare", hosts, {})
        ours = {
            series: Environment(lab, name, hosts, variables(lab, name, tls=series is OURS_TLS))
            for series, name in ((OURS, "plain"), (OURS_TLS, "tls"))
        }
        with ExitStack() as stack:
            for environment in (bare, *ours.values()):
                stack.enter_context(environment.up())
            start_bare(bare)
            for environment in ours.values():
                environment.play("site.yml")
            for number in lab.rounds:
                with lab.trial(BARE, number) as found:
                    found["values"] = json.loads(bare_client(bare))
                for series, environment in ours.items():
                    with lab.trial(series, number) as found:
                        found["values"] = json.loads(environment.client("host1", *LOAD).output)

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        return [
            Result(f"{value}: {series} by {BARE}", paired_ratio(trials, series, BARE, value))
            for series in (OURS, OURS_TLS)
            for value in (RATE, MEDIAN, TAIL)
        ]


def start_bare(environment: Environment) -> None:
    """Install and start Redis and a worker by hand."""
    environment.execute("host1", "sh", "-c", f"mkdir {GIVEN_AT} && tar x -C {GIVEN_AT}", stdin=archive(GIVEN))
    environment.execute("host1", f"{GIVEN_AT}/bare_celery.sh", GIVEN_AT, str(CONCURRENCY))


def bare_client(environment: Environment) -> str:
    """What bench/remote/client.py prints there."""
    command = ["sh", "-c", IN_APP, "sh", *client(*LOAD)]
    return environment.execute("host1", *command, stdin=CLIENT.read_bytes()).output
