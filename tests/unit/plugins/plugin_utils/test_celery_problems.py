"""plugins/plugin_utils/celery_problems.py: sentences that name a variable and show no secret."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_problems as celery
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Site
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harness import specs

NODE = {"name": "crawler", "queues": ["crawl"]}
NODE_KEYS = sorted(specs("celery")["celery_nodes"]["options"])
FILE_SCHEDULER = "celery.beat.PersistentScheduler"
# what the wiring gives every environment
WIRED = {
    name: "/var/lib/shop" if option["type"] == "path" else "shop"
    for name, option in specs("celery").items()
    if option.get("required")
}


def hosts(**variables: Any) -> dict[str, dict[str, Any]]:
    base = {**WIRED, "celery_app": "app", "celery_nodes": [NODE], "celery_routed_queues": ["crawl"]}
    return {
        "w1": {**base, **variables, "celery_beat_enabled": True},
        "w2": {**base, **variables, "celery_beat_enabled": False},
    }


@pytest.mark.parametrize("path", ["/var/lib/shop", "/var/lib/shop/", "/var/lib/celeriac/..shop/.b"])
def test_the_state_directory_may_be_anywhere_below_var_lib(path: str) -> None:
    assert celery.celery_problems(hosts(celery_state_directory=path)) == []


@pytest.mark.parametrize(
    "path",
    [
        "/srv/shop",
        "/var/lib",
        "/var/lib/",
        "/var/library",
        "/var/lib/../../srv",
        "/var/lib/a/..",
        "/var/lib/a b",
        "shop",
    ],
)
def test_a_state_directory_elsewhere_is_one_sentence(path: str) -> None:
    assert celery.celery_problems(hosts(celery_state_directory=path)) == [
        f"celery_state_directory is {path!r}: give it a directory below /var/lib, without .. in it."
    ]


@pytest.mark.parametrize("variables", [{}, {"workers_batch": 2, "celery_rollout_batch": 3}, {"workers_batch": "25%"}])
def test_batches_are_numbers_or_shares(variables: dict[str, Any]) -> None:
    assert celery.celery_batch_problems(hosts(**variables)) == []


def test_batches_are_text_on_the_command_line() -> None:
    assert celery.celery_batch_problems(hosts(workers_batch="2", celery_rollout_batch="3")) == []


def test_what_is_right_has_no_problem() -> None:
    nodes = [
        {**NODE, "hosts": ["w1"], "autoscale": {"min": 1, "max": 1}},
        {"name": "b_2", "instances": 2, "queues": ["a.b", "x:y-z"], "memory_max": "80%", "stop_timeout": 1},
        {"name": "c", "queues": ["c"], "memory_max": "301M", "max_memory_per_child": "300M", "nice": -20},
        {"name": "d", "queues": ["d"], "pool": "gevent", "time_limit": 3599, "autoscale": {"min": 1, "max": 9}},
        {"name": "e", "queues": ["e"], "soft_time_limit": 1, "time_limit": 2, "environment": {}, "extra_arguments": []},
    ]
    assert celery.celery_problems(hosts(celery_nodes=nodes)) == []


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (["crawler"], "write a mapping"),
        ({"queues": ["a"]}, "has name None"),
        ({**NODE, "name": "Crawler"}, "lower-case letters"),
        ({**NODE, "name": "1"}, "a letter first"),
        ({**NODE, "name": "a-b"}, "lower-case letters"),
        ({**NODE, "name": "crawler\n"}, "lower-case letters"),
        ({**NODE, "queue": ["a"]}, "unknown key 'queue'"),
        ({"name": "crawler"}, "has queues None: list at least one"),
        ({**NODE, "queues": "crawl"}, "list at least one"),
        ({**NODE, "queues": ["a,b"]}, "has queues[0] 'a,b': name it with letters"),
        ({**NODE, "queues": ["100%"]}, "has queues[0] '100%'"),
        ({**NODE, "queues": ["a b"]}, "has queues[0] 'a b'"),
        ({**NODE, "queues": ["a", "a"]}, "has the queue 'a' 2 times"),
        ({**NODE, "queues": [1]}, "has queues[0] 1: name it"),
        ({**NODE, "concurrency": 0}, "has concurrency 0"),
        ({**NODE, "concurrency": "4"}, "has concurrency '4'"),
        ({**NODE, "concurrency": True}, "has concurrency True"),
        ({**NODE, "prefetch_multiplier": 0}, "at least 1"),
        ({**NODE, "instances": 0}, "has instances 0"),
        ({**NODE, "stop_timeout": "1min"}, "has stop_timeout '1min'"),
        ({**NODE, "autoscale": {"min": 2, "max": 8}, "concurrency": 4}, "keep one of the two"),
        ({**NODE, "autoscale": {"min": 8, "max": 2}}, "min not above max"),
        ({**NODE, "autoscale": {"max": 2}}, "has autoscale.min None: give it a whole number of at least 1"),
        ({**NODE, "autoscale": {"min": 0, "max": 2}}, "has autoscale.min 0: give it a whole number of at least 1"),
        ({**NODE, "autoscale": 8}, "has autoscale 8: write a mapping with min, max"),
        ({**NODE, "memory_max": "2 GB"}, "has memory_max '2 GB'"),
        ({**NODE, "memory_max": "2g"}, "has memory_max '2g'"),
        ({**NODE, "memory_max": "2G\nUser=root"}, "has memory_max"),
        ({**NODE, "cpu_quota": "2"}, "has cpu_quota '2'"),
        ({**NODE, "loglevel": "verbose"}, "has loglevel 'verbose'"),
        ({**NODE, "events": "no"}, "has events 'no': write true or false"),
        ({**NODE, "nice": 20}, "has nice 20: give it a whole number from -20 to 19"),
        ({**NODE, "nice": -21}, "has nice -21"),
        ({**NODE, "nice": True}, "has nice True"),
        ({**NODE, "pool": "eventlet"}, "has pool 'eventlet': use one of prefork, threads, gevent, solo"),
        ({**NODE, "pool": ["solo"]}, "has pool ['solo']"),
        ({**NODE, "pool": "solo", "concurrency": 1}, "has concurrency 1, of which the pool solo knows nothing"),
        ({**NODE, "pool": "threads", "autoscale": {"min": 1, "max": 2}}, "leave it out, or use prefork, gevent"),
        ({**NODE, "pool": "threads", "time_limit": 5}, "use prefork, gevent"),
        ({**NODE, "pool": "gevent", "soft_time_limit": 5}, "or use prefork."),
        ({**NODE, "pool": "solo", "max_tasks_per_child": 5}, "of which the pool solo knows nothing"),
        ({**NODE, "pool": "gevent", "max_memory_per_child": "5M"}, "of which the pool gevent knows nothing"),
        ({**NODE, "soft_time_limit": 5, "time_limit": 5}, "has soft_time_limit 5, not below its time_limit 5"),
        ({**NODE, "time_limit": 0}, "has time_limit 0"),
        ({**NODE, "time_limit": 1.5}, "has time_limit 1.5"),
        ({**NODE, "max_memory_per_child": 300000}, "has max_memory_per_child 300000: give it a size with its unit"),
        ({**NODE, "max_memory_per_child": "2G", "memory_max": "2048M"}, "not below its memory_max '2048M'"),
        ({**NODE, "max_memory_per_child": "1K", "memory_max": "1000"}, "not below its memory_max '1000'"),
        ({**NODE, "environment": "A=1"}, "has environment of type str: write a mapping"),
        ({**NODE, "environment": {"1A": 1}}, "(crawler).environment has '1A'"),
        ({**NODE, "environment": {"CELERY_WORKER_POOL": "x"}}, "celery would take it for a command-line option"),
        ({**NODE, "environment": {"A": "x\ny"}}, "(crawler).environment.A has a line break"),
        ({**NODE, "extra_arguments": "--without-gossip"}, "write a list"),
        ({**NODE, "extra_arguments": ["-E"]}, "has the extra argument '-E', which isn't for it to set"),
        ({**NODE, "extra_arguments": ["without-gossip"]}, "write --without-gossip"),
        ({**NODE, "extra_arguments": ["--without-gosip"]}, "write --without-gossip"),
        ({**NODE, "extra_arguments": ["--hostname=x"]}, "'--hostname=x', which isn't for it to set"),
        ({**NODE, "extra_arguments": ["--detach"]}, "isn't for it to set"),
        ({**NODE, "extra_arguments": ["--without-gossip=1"]}, "give it no value"),
        ({**NODE, "extra_arguments": ["--include"]}, "give it modules"),
        ({**NODE, "extra_arguments": ["--include=a b"]}, "give it modules"),
        ({**NODE, "extra_arguments": ["--include=a\n"]}, "give it modules"),
        ({**NODE, "extra_arguments": ["--optimization=fast"]}, "give it default or fair"),
        ({**NODE, "extra_arguments": ["--without-gossip"] * 2}, "'--without-gossip' 2 times"),
        ({**NODE, "extra_arguments": [7]}, "has extra_arguments[0] 7: write it as text"),
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
        ({"celery_sandbox": {"PrivateDevice": False}}, "'PrivateDevice': write PrivateDevices"),
        ({"celery_log_to": "syslog"}, "celery_log_to is 'syslog': use one of files, journal"),
        ({"celery_log_format": None}, "celery_log_format is None: use one of text, json"),
        ({"celery_rollout_batch": 0}, "celery_rollout_batch is 0: give it a whole number of at least 1"),
        ({"celery_rollout_batch": "all"}, "celery_rollout_batch is 'all': give it a whole number of at least 1"),
        ({"celery_rollout_batch": True}, "celery_rollout_batch is True"),
        ({"workers_batch": 0}, "workers_batch is 0: give it a number of hosts or a share such as '25%'"),
        ({"workers_batch": "0%"}, "workers_batch is '0%'"),
        ({"workers_batch": [1, 5]}, "workers_batch is [1, 5]"),
        ({"celery_log_max_size": 100}, "celery_log_max_size is 100"),
        ({"celery_log_max_size": "100MB"}, "celery_log_max_size is '100MB'"),
        ({"celery_log_max_size": "1M\n}"}, "celery_log_max_size is"),
        (
            {"celery_beat_scheduler": "redbeat.RedBeat Scheduler"},
            "celery_beat_scheduler is 'redbeat.RedBeat Scheduler'",
        ),
        ({"celery_beat_scheduler": None}, "celery_beat_scheduler is None"),
        ({"celery_beat_takeover_timeout": 5}, "celery_beat_takeover_timeout is 5: give it whole seconds, at least 6"),
        ({"celery_beat_takeover_timeout": "1min"}, "celery_beat_takeover_timeout is '1min'"),
        ({"celery_stop_timeout": "1h"}, "celery_stop_timeout is '1h'"),
        ({"celery_soft_shutdown_timeout": -1}, "celery_soft_shutdown_timeout is -1"),
        ({"celery_visibility_timeout": 0}, "celery_visibility_timeout is 0"),
        ({"celery_stop_timeout": 3570}, "celery_stop_timeout is 3570, with celery_soft_shutdown_timeout 30 not below"),
        ({"celery_visibility_timeout": 600}, "celery_stop_timeout is 660"),
        ({"celery_nodes": [{**NODE, "stop_timeout": 3600}]}, "stop_timeout of the node 'crawler' is 3600"),
        ({"celery_nodes": [{**NODE, "time_limit": 3600}]}, "time_limit of the node 'crawler' is 3600, not below"),
        ({"celery_nodes": [{**NODE, "soft_time_limit": 3600}]}, "soft_time_limit of the node 'crawler' is 3600"),
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


@pytest.mark.parametrize(
    ("schedulers", "said"),
    [
        (["redbeat.RedBeatScheduler"] * 2, None),
        (["redbeat:RedBeatScheduler", "redbeat.RedBeatScheduler"], "give all hosts of the group beat the same"),
        (
            ["redbeat.RedBeatScheduler", "celery.beat.PersistentScheduler"],
            "The group beat has the hosts w1, w2: leave one",
        ),
        (["django"] * 2, "The group beat has the hosts w1, w2: leave one"),
    ],
)
def test_several_hosts_may_run_beat_with_the_same_lock(schedulers: list[str], said: str | None) -> None:
    fleet = hosts()
    for variables, scheduler in zip(fleet.values(), schedulers, strict=True):
        variables.update(celery_beat_enabled=True, celery_beat_scheduler=scheduler)
    problems = celery.celery_problems(fleet)
    assert len(problems) == (said is not None)
    assert said is None or said in problems[0]


@pytest.mark.parametrize(("group", "said"), [(["w1"], []), (["w1", "broker1"], ["broker1"]), (["a", "b"], ["a, b"])])
def test_a_host_of_the_group_beat_that_runs_no_nodes_is_refused(group: list[str], said: list[str]) -> None:
    problems = celery.celery_problems(hosts(), Site(groups={"beat": group}))
    assert problems == [
        f"The group beat has {names}, which isn't in the group workers: put it there too, where the application is, or "
        "take it out of beat."
        for names in said
    ]


def test_each_application_is_looked_at_by_itself() -> None:
    """Each with a beat; names and queues of one are no matter of the other's; what is wrong says with which."""
    fleet = {host: {**variables, "app_name": "shop"} for host, variables in hosts().items()}
    fleet |= {f"{host}-blog": {**variables, "app_name": "blog"} for host, variables in hosts().items()}
    assert celery.celery_problems(fleet, Site(groups={"beat": ["w1", "w1-blog"]})) == []
    fleet["w2-blog"]["celery_beat_enabled"] = True
    (problem,) = celery.celery_problems(fleet, Site(groups={"beat": ["w1", "w1-blog", "w2-blog"]}))
    assert problem.startswith("blog: The group beat has the hosts w1-blog, w2-blog: leave one of them")


def test_no_value_of_an_environment_is_ever_shown() -> None:
    wrong = [{"environment": {"A": "hush", "B": None}}, {"environment": "hush"}, {"environment": {"A": "hush\n"}}]
    values: list[Any] = [[{**NODE, **node}] for node in wrong]
    for nodes in [*values, {"crawler": wrong[0]}, [[wrong[0]]]]:
        problems = celery.celery_problems(hosts(celery_nodes=nodes))
        assert problems
        assert "hush" not in " ".join(problems)


def test_a_queue_may_be_consumed_on_another_host_only() -> None:
    nodes = [{**NODE, "hosts": ["w1"]}, {"name": "mail", "queues": ["mail"], "hosts": ["w2"]}]
    assert celery.celery_problems(hosts(celery_nodes=nodes, celery_routed_queues=["mail", "crawl"])) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NODE_KEYS), inner),
        max_leaves=8,
    )
)
def test_any_value_gets_sentences_and_no_exception(value: Any) -> None:
    for problem in celery.celery_problems(hosts(celery_nodes=[value])):
        assert problem.endswith(".")
