"""plugins/plugin_utils/celery_options.py: the table of what a node may say."""

from __future__ import annotations

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_options as celery
from celery.bin.worker import worker

from tests.support.harness import specs


def test_each_option_of_celery_worker_is_the_roles_the_nodes_or_refused() -> None:
    """A new option of a new Celery has to be thought about."""
    known = {option.removeprefix("--") for each in worker.params for option in each.opts if option.startswith("--")}
    roles = {"hostname", "loglevel", "statedb", "pidfile", "logfile"}
    nodes = {option.flag for option in celery.NODE_OPTIONS.values() if option.flag} | {"task-events", "events"}
    breaking = {"detach", "uid", "gid", "umask", "executable", "purge", "discard", "exclude-queues"}
    beat = {"beat", "schedule", "schedule-filename", "scheduler"}
    assert known - {"help"} == roles | nodes | breaking | beat | set(celery.EXTRA)
    assert not set(celery.EXTRA) & (roles | nodes | breaking | beat)


def test_options_of_the_table_are_declared() -> None:
    assert set(celery.NODE_OPTIONS) <= set(specs("celery")["celery_nodes"]["options"])


def test_pools_that_know_nothing_of_an_option_are_declared() -> None:
    assert celery.pools()[0] == "prefork"
    assert {pool for option in celery.NODE_OPTIONS.values() for pool in option.not_of} < set(celery.pools())


@pytest.mark.parametrize(
    ("size", "number"), [("1K", 1024), ("1.5M", 3 * 2**19), ("1000", 1000), (7, 7), ("80%", 0), (None, 0), ("2GB", 0)]
)
def test_sizes_are_bytes(size: object, number: int) -> None:
    assert celery.in_bytes(size) == number
