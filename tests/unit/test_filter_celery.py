"""plugins/filter/celery.py: nodes become options, units and questions; what can't be right is said in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.worker import worker
from harness import load, specs
from hypothesis import given
from hypothesis import strategies as st

celery = load("plugins/filter/celery.py")

NODE = {"name": "crawler", "queues": ["crawl"]}


CONTEXT = CLIContext(app=Celery(set_as_current=False), no_color=True, workdir=None)


def accepted_by_celery(options: list[str]) -> dict[str, Any]:
    """What ``celery worker`` understands by ``options``."""
    return dict(worker.make_context("worker", list(options), obj=CONTEXT).params)


def hosts(**variables: Any) -> dict[str, dict[str, Any]]:
    base = {"celery_app": "app", "celery_nodes": [NODE], "celery_routed_queues": ["crawl"]}
    return {
        "w1": {**base, **variables, "celery_beat_enabled": True},
        "w2": {**base, **variables, "celery_beat_enabled": False},
    }


# -- nodes of a host


def test_a_node_runs_on_every_worker_host_unless_hosts_names_some() -> None:
    nodes = [NODE, {"name": "beatnik", "queues": ["b"], "hosts": ["w2"]}]
    assert [node["name"] for node in celery.celery_host_nodes(nodes, "w1")] == ["crawler"]
    assert [node["name"] for node in celery.celery_host_nodes(nodes, "w2")] == ["crawler", "beatnik"]


def test_instances_are_numbered_from_one() -> None:
    nodes = [{**NODE, "name": "high", "instances": 3}]
    assert [node["name"] for node in celery.celery_host_nodes(nodes, "w1")] == ["high1", "high2", "high3"]


def test_limits_become_directives_of_systemd() -> None:
    (node,) = celery.celery_host_nodes([{**NODE, "memory_max": "2G", "cpu_quota": "150%"}], "w1")
    assert node["limits"] == {"MemoryMax": "2G", "CPUQuota": "150%"}


def test_a_node_that_cannot_be_right_is_an_error_of_the_filter() -> None:
    with pytest.raises(AnsibleFilterError, match=r"celery_nodes\[0\] \(crawler\) has queues \[\]"):
        celery.celery_host_nodes([{**NODE, "queues": []}], "w1")


COUNT = st.integers(min_value=1, max_value=512)
NODES = st.fixed_dictionaries(
    {
        "name": st.from_regex(celery.NODE_NAME, fullmatch=True),
        "queues": st.lists(st.from_regex(celery.QUEUE_NAME, fullmatch=True), min_size=1, max_size=4, unique=True),
    },
    optional={
        "prefetch_multiplier": COUNT,
        "max_tasks_per_child": COUNT,
        "loglevel": st.sampled_from(celery.LOGLEVELS),
    },
)
POOLS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"concurrency": COUNT}),
    st.tuples(COUNT, COUNT).map(lambda pair: {"autoscale": {"min": min(pair), "max": max(pair)}}),
)


@given(NODES, POOLS)
def test_what_the_filter_accepts_celery_accepts(base: dict[str, Any], pool: dict[str, Any]) -> None:
    node = {**base, **pool}
    (rendered,) = celery.celery_host_nodes([node], "w1")
    params = accepted_by_celery(rendered["options"])
    assert params["queues"] == node["queues"]
    assert params["concurrency"] == node.get("concurrency", params["concurrency"])
    assert params["prefetch_multiplier"] == node.get("prefetch_multiplier", params["prefetch_multiplier"])
    assert params["max_tasks_per_child"] == node.get("max_tasks_per_child", params["max_tasks_per_child"])
    if "autoscale" in node:
        assert params["autoscale"] == (node["autoscale"]["max"], node["autoscale"]["min"])


def test_celery_takes_a_prefetch_multiplier_of_0_for_none() -> None:
    """Which is why the filter refuses it."""
    assert accepted_by_celery(["--prefetch-multiplier=0"])["prefetch_multiplier"] == 4


def test_celery_refuses_an_option_it_does_not_know() -> None:
    """So the property above can fail."""
    with pytest.raises(Exception, match="No such option"):
        accepted_by_celery(["--max-tasks=3"])


@given(NODES)
def test_options_are_long_and_of_one_word(node: dict[str, Any]) -> None:
    """Only ``--option=value`` survives ``celery multi``."""
    for option in celery.options(node):
        assert option.startswith("--")
        assert "=" in option
        assert not set(option) & set(" %\"'\\$\n")


# -- units and questions


def test_units_are_the_target_the_nodes_and_beat() -> None:
    nodes = celery.celery_host_nodes([{**NODE, "instances": 2}], "w1")
    units = celery.celery_units("shop", nodes, True, ["/etc/shop/shop.env"])
    assert units == [
        {"name": "shop-workers.target"},
        {"name": "shop-worker@crawler1.service", "inputs": ["/etc/shop/shop.env"]},
        {"name": "shop-worker@crawler2.service", "inputs": ["/etc/shop/shop.env"]},
        {"name": "shop-beat.service", "inputs": ["/etc/shop/shop.env"]},
    ]


def test_a_host_without_beat_has_no_beat_unit() -> None:
    assert [unit["name"] for unit in celery.celery_units("shop", [], False, [])] == ["shop-workers.target"]


def test_ready_is_asked_of_each_node_by_unit_and_log() -> None:
    nodes = celery.celery_host_nodes([NODE], "w1")
    assert celery.celery_ready_nodes(nodes, "shop") == [
        {
            "name": "crawler",
            "queues": ["crawl"],
            "unit": "shop-worker@crawler.service",
            "log": "/var/log/shop/crawler.log",
        }
    ]


def test_node_keys_are_those_of_the_argument_specs() -> None:
    assert set(specs("celery")["celery_nodes"]["options"]) == celery.NODE_KEYS


def test_loglevels_are_those_of_the_argument_specs() -> None:
    options = specs("celery")
    assert tuple(options["celery_loglevel"]["choices"]) == celery.LOGLEVELS
    assert tuple(options["celery_nodes"]["options"]["loglevel"]["choices"]) == celery.LOGLEVELS


# -- problems


def test_what_is_right_has_no_problem() -> None:
    nodes = [
        {**NODE, "hosts": ["w1"], "autoscale": {"min": 1, "max": 1}},
        {"name": "b_2", "instances": 2, "queues": ["a.b", "x:y-z"], "memory_max": "80%", "stop_timeout": 1},
    ]
    assert celery.celery_problems(hosts(celery_nodes=nodes)) == []


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (["crawler"], "write a mapping"),
        ({"queues": ["a"]}, "has the name None"),
        ({**NODE, "name": "Crawler"}, "lower-case letters"),
        ({**NODE, "name": "1"}, "a letter first"),
        ({**NODE, "name": "a-b"}, "lower-case letters"),
        ({**NODE, "name": "crawler\n"}, "lower-case letters"),
        ({**NODE, "queue": ["a"]}, "unknown key 'queue'"),
        ({"name": "crawler"}, "has queues None: list at least one"),
        ({**NODE, "queues": "crawl"}, "list at least one"),
        ({**NODE, "queues": ["a,b"]}, "has the queue 'a,b'"),
        ({**NODE, "queues": ["100%"]}, "has the queue '100%'"),
        ({**NODE, "queues": ["a b"]}, "has the queue 'a b'"),
        ({**NODE, "queues": ["a", "a"]}, "has the queue 'a' 2 times"),
        ({**NODE, "queues": [1]}, "has the queue 1:"),
        ({**NODE, "concurrency": 0}, "has concurrency 0"),
        ({**NODE, "concurrency": "4"}, "has concurrency '4'"),
        ({**NODE, "concurrency": True}, "has concurrency True"),
        ({**NODE, "prefetch_multiplier": 0}, "at least 1"),
        ({**NODE, "instances": 0}, "has instances 0"),
        ({**NODE, "stop_timeout": "1min"}, "has stop_timeout '1min'"),
        ({**NODE, "autoscale": {"min": 2, "max": 8}, "concurrency": 4}, "keep one of the two"),
        ({**NODE, "autoscale": {"min": 8, "max": 2}}, "min not above max"),
        ({**NODE, "autoscale": {"max": 2}}, "write {min: 2, max: 8}"),
        ({**NODE, "autoscale": {"min": 0, "max": 2}}, "write {min: 2, max: 8}"),
        ({**NODE, "autoscale": 8}, "write {min: 2, max: 8}"),
        ({**NODE, "memory_max": "2 GB"}, "has memory_max '2 GB'"),
        ({**NODE, "memory_max": "2g"}, "has memory_max '2g'"),
        ({**NODE, "memory_max": "2G\nUser=root"}, "has memory_max"),
        ({**NODE, "cpu_quota": "2"}, "has cpu_quota '2'"),
        ({**NODE, "loglevel": "verbose"}, "has loglevel 'verbose'"),
        ({**NODE, "hosts": []}, "has hosts []"),
        ({**NODE, "hosts": "w1"}, "has hosts 'w1'"),
    ],
)
def test_a_wrong_node_is_one_sentence(node: Any, said: str) -> None:
    (problem,) = celery.celery_problems(hosts(celery_nodes=[node]))
    assert said in problem
    assert problem.startswith("celery_nodes[0]")
    assert problem.endswith(".")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"celery_app": "app core"}, "celery_app is 'app core'"),
        ({"celery_app": None}, "celery_app is None"),
        ({"celery_app": "a; rm"}, "celery_app is 'a; rm'"),
        ({"celery_nodes": None}, "celery_nodes is None"),
        ({"celery_nodes": {"crawler": {}}}, "celery_nodes is {'crawler': {}}"),
        ({"celery_nodes": []}, "at least one node"),
        ({"celery_nodes": [NODE, NODE]}, "names 'crawler' 2 times on w1, w2"),
        (
            {"celery_nodes": [{**NODE, "name": "high", "instances": 2}, {**NODE, "name": "high2"}]},
            "names 'high2' 2 times",
        ),
        ({"celery_nodes": [{**NODE, "hosts": ["w3"]}]}, "runs on the host 'w3'"),
        ({"celery_routed_queues": ["crawl", "mail"]}, "celery_routed_queues has the queue 'mail'"),
        ({"celery_nodes": [{**NODE, "hosts": ["w1"]}], "celery_routed_queues": ["mail"]}, "the queue 'mail'"),
    ],
)
def test_a_wrong_fleet_is_one_sentence(variables: dict[str, Any], said: str) -> None:
    (problem,) = celery.celery_problems(hosts(**variables))
    assert said in problem
    assert problem.endswith(".")


@pytest.mark.parametrize(
    ("beats", "said"),
    [
        ([], "The group beat has no host of the group workers"),
        (["w1", "w2"], "The group beat has the hosts w1, w2"),
    ],
)
def test_beat_runs_on_exactly_one_host(beats: list[str], said: str) -> None:
    fleet = hosts()
    for host, variables in fleet.items():
        variables["celery_beat_enabled"] = host in beats
    (problem,) = celery.celery_problems(fleet)
    assert problem.startswith(said)


def test_workers_without_a_host_is_one_sentence() -> None:
    (problem,) = celery.celery_problems({})
    assert problem.startswith("The group workers has no host")


def test_a_queue_may_be_consumed_on_another_host_only() -> None:
    nodes = [{**NODE, "hosts": ["w1"]}, {"name": "mail", "queues": ["mail"], "hosts": ["w2"]}]
    assert celery.celery_problems(hosts(celery_nodes=nodes, celery_routed_queues=["mail", "crawl"])) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(celery.NODE_KEYS)), inner),
        max_leaves=8,
    )
)
def test_any_value_gets_sentences_and_no_exception(value: Any) -> None:
    for problem in celery.celery_problems(hosts(celery_nodes=[value])):
        assert problem.endswith(".")
