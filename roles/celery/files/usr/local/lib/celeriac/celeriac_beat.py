"""The command celery beat, as a service that says when it is up and why it isn't.

    python -P celeriac_beat.py text|json [OPTIONS OF celery] beat [OPTIONS OF celery beat]

systemd hears of it (Type=notify) when the first pass over the schedule is done, or when beat has been waiting for
STANDBY seconds without an error: for a lock that another beat holds, or for a broker that is away.

Gives the scheduler of celery-redbeat what it needs and the application doesn't set: the broker's URL and timeouts, and
a prefix below the application's own.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from celery import signals
from celery.__main__ import main as celery

STANDBY = 5.0  # seconds
# Of broker_transport_options, what any Redis client takes.
OPTIONS = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval")


def notify(state: str) -> None:
    """Tell systemd, if it wants to hear: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


@signals.beat_init.connect
def starting(sender: Any, **_: Any) -> None:
    """Called before redbeat's own receiver, which waits for the lock."""
    scheduler, tick = sender.scheduler, sender.scheduler.tick
    waiting = threading.Timer(STANDBY, notify, ["READY=1\nSTATUS=Waiting for the lock or the broker"])
    waiting.daemon = True
    waiting.start()

    def first(*arguments: Any, **named: Any) -> Any:
        interval = tick(*arguments, **named)
        waiting.cancel()
        notify("READY=1\nSTATUS=Sends what is due")
        del scheduler.tick  # from now on its own
        return interval

    scheduler.tick = first


@signals.import_modules.connect
def redbeat_defaults(sender: Any, **_: Any) -> None:
    """What the application itself sets takes precedence."""
    transport = sender.conf.broker_transport_options or {}
    defaults = {
        "redbeat_redis_url": sender.conf.broker_url,
        "redbeat_key_prefix": f"{transport.get('global_keyprefix', '')}redbeat:",
    }
    if "sentinels" not in transport:
        defaults["redbeat_redis_options"] = {key: transport[key] for key in OPTIONS if key in transport}
    sender.add_defaults(defaults)


def main(arguments: list[str]) -> None:
    """Run beat until it ends the process."""
    log_format, *rest = arguments
    if log_format == "json":
        sys.path.append(str(Path(__file__).parent))  # behind everything that the application may import
        import celeriac_json

        celeriac_json.node = f"beat@{socket.gethostname()}"
    sys.argv[:] = ["celery", *rest]
    try:
        celery()
    except Exception:
        # standard error has become Celery's log; what ends a service belongs into its journal too
        if any(option.startswith("--logfile") for option in rest):
            traceback.print_exc(file=sys.__stderr__)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
