"""Tells tools/cpu_profile.py when each test began and ended, if tools/run_tests.py has asked for it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator

import cpu_profile
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Write a line when a test has ended: step, name, begin, end, and processor seconds of this process."""
    begin, before = time.time(), sum(os.times()[:4])
    try:
        return (yield)
    finally:
        if marks := os.environ.get(cpu_profile.MARKS):
            step, used = os.environ.get(cpu_profile.STEP, ""), sum(os.times()[:4]) - before
            with open(marks, "a", encoding="utf-8") as file:
                file.write(json.dumps([step, item.nodeid, begin, time.time(), round(used, 2)]) + "\n")
