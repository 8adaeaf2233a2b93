"""Waits on conditions: no test sleeps for a time in which something should have happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from testinfra.host import Host

Result = TypeVar("Result")
INTERVAL = 0.2  # seconds between two looks at a condition
PATIENCE = 300  # seconds; what comes about ends a wait at once, and a machine with much else to do needs long


def wait_for(condition: Callable[[], Result | None], *, timeout: float = PATIENCE, what: str = "") -> Result:
    """Wait until a condition holds; what it returned then.

    :param timeout: seconds, after which the test fails
    :param what: what is waited for, as the failure names it
    """
    deadline = time.monotonic() + timeout
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"{what or condition} did not come about within {timeout} seconds")
        time.sleep(INTERVAL)  # between two looks at the condition


def wait_for_boot(host: Host, *, timeout: float = PATIENCE) -> None:
    """Wait until systemd has started all that it starts."""
    wait_for(lambda: _has_booted(host), timeout=timeout, what="boot")


def _has_booted(host: Host) -> bool:
    try:
        return bool(host.run("systemctl is-system-running --wait").stdout.strip() == "running")
    except RuntimeError:  # over SSH: nobody answers yet
        return False
