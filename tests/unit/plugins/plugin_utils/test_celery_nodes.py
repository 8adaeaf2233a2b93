"""plugins/plugin_utils/celery_nodes.py: nodes become options, units and questions; problems are sentences."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_nodes as celery
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_options import (
    EXTRA,
    NODE_NAME,
    NODE_OPTIONS,
    QUEUE_NAME,
    pools,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.celery_worker import accepted, node_of, started
from tests.support.harness import specs

NODE = {"name": "crawler", "queues": ["crawl"]}


# -- nodes of a host


def test_a_node_runs_on_every_worker_host_unless_hosts_names_some() -> None:
    nodes = [NODE, {"name": "beatnik", "queues": ["b"], "hosts": ["w2"]}]
    assert [node["name"] for node in celery.celery_host_nodes(nodes, "w1")] == ["crawler"]
    assert [node["name"] for node in celery.celery_host_nodes(nodes, "w2")] == ["crawler", "beatnik"]


def test_instances_are_numbered_from_one() -> None:
    nodes = [{**NODE, "name": "high", "instances": 3}]
    assert [node["name"] for node in celery.celery_host_nodes(nodes, "w1")] == ["high1", "high2", "high3"]


def test_limits_become_directives_of_systemd() -> None:
    (node,) = celery.celery_host_nodes([{**NODE, "memory_max": "2G", "cpu_quota": "150%", "nice": -5}], "w1")
    assert node["limits"] == {"MemoryMax": "2G", "CPUQuota": "150%", "Nice": -5}


def test_a_node_that_cannot_be_right_is_an_error_of_the_filter() -> None:
    with pytest.raises(AnsibleFilterError, match=r"celery_nodes\[0\] \(crawler\) has queues \[\]"):
        celery.celery_host_nodes([{**NODE, "queues": []}], "w1")


COUNT = st.integers(min_value=1, max_value=512)
MODULE = st.from_regex(r"[a-z_]\w{0,8}(\.[a-z]\w{0,8})?", fullmatch=True).filter(str.isascii)
ARGUMENT = {
    "heartbeat-interval": COUNT.map(str),
    "include": st.lists(MODULE, min_size=1, max_size=3).map(",".join),
    "optimization": st.sampled_from(["default", "fair"]),
    "pool-start-method": st.sampled_from(["fork", "spawn"]),
}
ARGUMENTS = st.lists(st.sampled_from(sorted(EXTRA)), unique=True).flatmap(
    lambda names: st.tuples(
        *(ARGUMENT[name].map(f"--{name}={{}}".format) if name in ARGUMENT else st.just(f"--{name}") for name in names)
    ).map(list)
)
LIMITS = st.tuples(COUNT, COUNT).map(sorted).filter(lambda pair: pair[0] < pair[1])
NODES = st.fixed_dictionaries(
    {
        "name": st.from_regex(NODE_NAME, fullmatch=True),
        "queues": st.lists(st.from_regex(QUEUE_NAME, fullmatch=True), min_size=1, max_size=4, unique=True),
    },
    optional={
        "pool": st.sampled_from(pools()),
        "concurrency": COUNT,
        "autoscale": st.tuples(COUNT, COUNT).map(sorted).map(lambda pair: {"min": pair[0], "max": pair[1]}),
        "prefetch_multiplier": COUNT,
        "max_tasks_per_child": COUNT,
        "max_memory_per_child": st.tuples(COUNT, st.sampled_from("KMG")).map(lambda pair: f"{pair[0]}{pair[1]}"),
        "time_limits": LIMITS,
        "loglevel": st.sampled_from(specs("celery")["celery_loglevel"]["choices"]),
        "events": st.booleans(),
        "extra_arguments": ARGUMENTS,
    },
)


def possible(drawn: dict[str, Any]) -> dict[str, Any]:
    """A drawn node without what its pool can't do, and with one of concurrency and autoscale."""
    node = dict(drawn)
    node.update(zip(("soft_time_limit", "time_limit"), node.pop("time_limits", ()), strict=False))
    if "autoscale" in node:
        node.pop("concurrency", None)
    pool = node.get("pool", "prefork")
    return {
        key: value for key, value in node.items() if key not in NODE_OPTIONS or pool not in NODE_OPTIONS[key].not_of
    }


@given(NODES.map(possible))
def test_what_the_filter_accepts_celery_accepts(node: dict[str, Any]) -> None:
    (rendered,) = celery.celery_host_nodes([node], "w1")
    arguments = [node["name"], "--app=a", *rendered["options"], "--", "worker_soft_shutdown_timeout=30"]
    started_node = node_of([*arguments, *rendered["settings"]])
    assert started_node.name == f"{node['name']}@host"
    before, after = started(started_node)
    assert before == ["--app=a"]
    assert set(rendered["options"]) <= set(after)
    params, settings = accepted(after)
    default, _ = accepted([])
    assert params["queues"] == node["queues"]
    for key in ("concurrency", "prefetch_multiplier", "max_tasks_per_child", "soft_time_limit", "time_limit"):
        assert params[key] == node.get(key, default[key])
    assert params["pool"].__module__ == {
        "threads": "celery.concurrency.thread",
        "gevent": "celery.concurrency.gevent",
        "solo": "celery.concurrency.solo",
    }.get(node.get("pool"), "celery.concurrency.prefork")
    assert params["autoscale"] == (
        (node["autoscale"]["max"], node["autoscale"]["min"]) if "autoscale" in node else default["autoscale"]
    )
    if "max_memory_per_child" in node:
        number, unit = node["max_memory_per_child"][:-1], node["max_memory_per_child"][-1]
        assert params["max_memory_per_child"] == int(number) * {"K": 1, "M": 1024, "G": 1024**2}[unit]
    assert params["task_events"] is (True if node.get("events") else None)
    assert settings.pop("worker_soft_shutdown_timeout") == 30.0
    assert settings == ({"worker_send_task_events": False} if node.get("events") is False else {})
    for argument in node.get("extra_arguments", []):
        name, sign, value = argument.removeprefix("--").partition("=")
        parsed = params[name.replace("-", "_")]
        if name == "include":  # behind what the pool needs
            parsed = ",".join(each for each in parsed if not each.startswith("celeriac_"))
        assert parsed is True if not sign else str(parsed) == value


def test_celery_takes_a_prefetch_multiplier_of_0_for_none() -> None:
    """Which is why the filter refuses it."""
    assert accepted(["--prefetch-multiplier=0"])[0]["prefetch_multiplier"] == 4


@pytest.mark.parametrize("options", [["--max-tasks=3"], ["--pool=forks"], ["--heartbeat-interval=soon"]])
def test_celery_refuses_what_it_does_not_know(options: list[str]) -> None:
    """So the property above can fail."""
    with pytest.raises(Exception, match=r"No such option|is not"):
        accepted(options)


@given(NODES.map(possible))
def test_options_are_long_and_of_one_word(node: dict[str, Any]) -> None:
    """Only ``--option=value`` survives ``celery multi``; and no character of it means something to systemd."""
    for option in celery.options(node):
        assert option.startswith("--")
        assert not set(option) & set(" %\"'\\$\n")


@pytest.mark.parametrize(
    ("node", "signals"),
    [
        ({}, [("TERM", 660), ("QUIT", 40)]),
        ({"stop_timeout": 5}, [("TERM", 5), ("QUIT", 40)]),
        ({"pool": "threads"}, [("TERM", 660), ("QUIT", 40)]),
        ({"pool": "solo"}, [("TERM", 660)]),
    ],
)
def test_a_stop_is_warm_then_hands_back_where_the_pool_can(node: dict[str, Any], signals: list) -> None:
    (rendered,) = celery.celery_host_nodes([{**NODE, **node}], "w1")
    assert celery.celery_stop_signals(rendered, 660, 30) == signals


def test_values_of_environments_are_in_their_files_alone() -> None:
    nodes = [{**NODE, "environment": {"TOKEN": 'hush"', "ON": True}}, {"name": "b", "queues": ["b"]}]
    assert celery.celery_environments(nodes, "w1") == [{"name": "crawler", "content": 'ON="true"\nTOKEN="hush\\""\n'}]
    rendered = celery.celery_host_nodes(nodes, "w1")
    assert [node["own_environment"] for node in rendered] == [True, False]
    assert "hush" not in str(rendered)


# -- units and questions


def test_a_nodes_own_environment_is_an_input_of_that_node_alone() -> None:
    nodes = celery.celery_host_nodes([{**NODE, "environment": {"A": 1}}, {"name": "b", "queues": ["b"]}], "w1")
    inputs = [["/x", "/etc/shop/worker@crawler.env"], ["/x"]]
    assert [node["inputs"] for node in celery.celery_rollout_nodes(nodes, "shop", "/etc/shop", ["/x"], 60)] == inputs


def test_a_rollout_waits_for_tasks_as_long_as_a_stop_does() -> None:
    nodes = celery.celery_host_nodes([NODE, {"name": "b", "queues": ["b"], "stop_timeout": 30}], "w1")
    assert [node["stop_timeout"] for node in celery.celery_rollout_nodes(nodes, "shop", "/etc/shop", [], 60)] == [
        60,
        30,
    ]


def test_each_node_has_a_unit_and_a_log() -> None:
    nodes = celery.celery_host_nodes([NODE], "w1")
    assert celery.celery_node_units(nodes, "shop") == [
        {
            "name": "crawler",
            "queues": ["crawl"],
            "unit": "shop-worker@crawler.service",
            "log": "/var/log/shop/crawler.log",
        }
    ]


def test_a_node_that_writes_to_the_journal_has_no_log_file() -> None:
    nodes = celery.celery_host_nodes([NODE], "w1")
    assert [node["log"] for node in celery.celery_node_units(nodes, "shop", "journal")] == [None]
    assert [node["log"] for node in celery.celery_rollout_nodes(nodes, "shop", "/etc/shop", [], 60, "journal")] == [
        None
    ]


def test_what_every_node_imports_comes_before_its_own() -> None:
    nodes = [{**NODE, "extra_arguments": ["--include=a,b", "--without-gossip"]}, {"name": "b", "queues": ["b"]}]
    rendered = celery.celery_host_nodes(nodes, "w1", ["ours"])
    assert rendered[0]["options"][1:] == ["--without-gossip", "--include=celeriac_prefork,ours,a,b"]
    assert rendered[1]["options"][1:] == ["--include=celeriac_prefork,ours"]


def test_only_a_pool_of_processes_imports_what_it_needs() -> None:
    solo = {"name": "a", "queues": ["a"], "pool": "solo"}
    (rendered,) = celery.celery_host_nodes([solo], "w1")
    assert not [option for option in rendered["options"] if "include" in option]
