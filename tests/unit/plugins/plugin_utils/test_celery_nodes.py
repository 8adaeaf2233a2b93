"""plugins/plugin_utils/celery_nodes.py: nodes become options, units and questions; problems are sentences."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_nodes as celery
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Site
from celery.bin.worker import worker
from hypothesis import given
from hypothesis import strategies as st

from tests.support.celery_worker import accepted, node_of, started
from tests.support.harness import defaults, specs

NODE = {"name": "crawler", "queues": ["crawl"]}


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
    (node,) = celery.celery_host_nodes([{**NODE, "memory_max": "2G", "cpu_quota": "150%", "nice": -5}], "w1")
    assert node["limits"] == {"MemoryMax": "2G", "CPUQuota": "150%", "Nice": -5}


def test_a_node_that_cannot_be_right_is_an_error_of_the_filter() -> None:
    with pytest.raises(AnsibleFilterError, match=r"celery_nodes\[0\] \(crawler\) has queues \[\]"):
        celery.celery_host_nodes([{**NODE, "queues": []}], "w1")


COUNT = st.integers(min_value=1, max_value=512)
MODULE = st.from_regex(r"[a-z_]\w{0,8}(\.[a-z]\w{0,8})?", fullmatch=True).filter(str.isascii)
EXTRA = {
    "heartbeat-interval": COUNT.map(str),
    "include": st.lists(MODULE, min_size=1, max_size=3).map(",".join),
    "optimization": st.sampled_from(["default", "fair"]),
    "pool-start-method": st.sampled_from(["fork", "spawn"]),
}
ARGUMENTS = st.lists(st.sampled_from(sorted(celery.EXTRA)), unique=True).flatmap(
    lambda names: st.tuples(
        *(EXTRA[name].map(f"--{name}={{}}".format) if name in EXTRA else st.just(f"--{name}") for name in names)
    ).map(list)
)
LIMITS = st.tuples(COUNT, COUNT).map(sorted).filter(lambda pair: pair[0] < pair[1])
NODES = st.fixed_dictionaries(
    {
        "name": st.from_regex(celery.NODE_NAME, fullmatch=True),
        "queues": st.lists(st.from_regex(celery.QUEUE_NAME, fullmatch=True), min_size=1, max_size=4, unique=True),
    },
    optional={
        "pool": st.sampled_from(sorted(celery.POOLS)),
        "concurrency": COUNT,
        "autoscale": st.tuples(COUNT, COUNT).map(sorted).map(lambda pair: {"min": pair[0], "max": pair[1]}),
        "prefetch_multiplier": COUNT,
        "max_tasks_per_child": COUNT,
        "max_memory_per_child": st.tuples(COUNT, st.sampled_from("KMG")).map(lambda pair: f"{pair[0]}{pair[1]}"),
        "time_limits": LIMITS,
        "loglevel": st.sampled_from(celery.LOGLEVELS),
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
    return {key: value for key, value in node.items() if key not in celery.POOLS[node.get("pool", "prefork")]}


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


def test_each_option_of_celery_worker_is_the_roles_the_nodes_or_refused() -> None:
    """A new option of a new Celery has to be thought about."""
    known = {option.removeprefix("--") for each in worker.params for option in each.opts if option.startswith("--")}
    roles = {"hostname", "loglevel", "statedb", "pidfile", "logfile"}
    nodes = {*celery.OPTIONS.values(), "autoscale", "max-memory-per-child", "task-events", "events", "queues"}
    breaking = {"detach", "uid", "gid", "umask", "executable", "purge", "discard", "exclude-queues"}
    beat = {"beat", "schedule", "schedule-filename", "scheduler"}
    assert known - {"help"} == roles | nodes | breaking | beat | set(celery.EXTRA)
    assert not set(celery.EXTRA) & (roles | nodes | breaking | beat)


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


@pytest.mark.parametrize(
    ("scheduler", "seconds", "options"),
    [
        ("celery.beat:PersistentScheduler", 30, []),
        ("django", 30, []),
        ("django_celery_beat.schedulers:DatabaseScheduler", 30, []),
        ("redbeat.RedBeatScheduler", 30, ["--max-interval=5"]),
        ("redbeat:RedBeatScheduler", 6, ["--max-interval=1"]),
        ("redbeat.RedBeatScheduler", 17, ["--max-interval=2"]),
    ],
)
def test_beat_with_a_lock_is_given_the_time_a_standby_has(scheduler: str, seconds: int, options: list[str]) -> None:
    assert celery.celery_beat_options(scheduler, seconds) == [f"--scheduler={scheduler}", *options]


def test_choices_are_those_of_the_argument_specs() -> None:
    assert {name: tuple(specs("celery")[name]["choices"]) for name in celery.CHOICES} == celery.CHOICES
    assert {name: defaults("celery")[name] for name in celery.CHOICES} == {
        name: choices[0] for name, choices in celery.CHOICES.items()
    }
    assert defaults("celery")["celery_beat_scheduler"] == celery.FILE_SCHEDULER


def test_node_keys_are_those_of_the_argument_specs() -> None:
    assert set(specs("celery")["celery_nodes"]["options"]) == celery.NODE_KEYS


def test_loglevels_are_those_of_the_argument_specs() -> None:
    options = specs("celery")
    assert tuple(options["celery_loglevel"]["choices"]) == celery.LOGLEVELS
    assert tuple(options["celery_nodes"]["options"]["loglevel"]["choices"]) == celery.LOGLEVELS


def test_pools_are_those_of_the_argument_specs() -> None:
    assert specs("celery")["celery_nodes"]["options"]["pool"]["choices"] == list(celery.POOLS)


def test_timeouts_are_those_of_the_defaults() -> None:
    assert {name: defaults("celery")[name] for name in celery.TIMEOUTS} == celery.TIMEOUTS


# -- problems


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
        ({**NODE, "environment": "A=1"}, "(crawler).environment is a str"),
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
        ({**NODE, "extra_arguments": [7]}, "has the extra argument 7"),
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
        (["redbeat.RedBeatScheduler", celery.FILE_SCHEDULER], "The group beat has the hosts w1, w2: leave one"),
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
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(celery.NODE_KEYS)), inner),
        max_leaves=8,
    )
)
def test_any_value_gets_sentences_and_no_exception(value: Any) -> None:
    for problem in celery.celery_problems(hosts(celery_nodes=[value])):
        assert problem.endswith(".")
