"""plugins/plugin_utils/systemd_sandbox.py: defaults, what is put over them, and what is said of what can't be right."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import systemd_sandbox as sandbox
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT


def test_without_switches_the_defaults_hold() -> None:
    directives = sandbox.systemd_sandbox({})
    assert [name for name, _ in directives] == sorted(name for name, _ in directives)
    assert dict(directives).keys() == sandbox.DEFAULTS.keys()
    assert ("CapabilityBoundingSet", "") in directives
    assert ("PrivateDevices", "true") in directives
    assert [value for name, value in directives if name == "SystemCallFilter"] == [
        "@system-service",
        "~@privileged @resources",
    ]


@pytest.mark.parametrize(
    ("switch", "lines"),
    [
        ({"MemoryDenyWriteExecute": False}, {"MemoryDenyWriteExecute": []}),
        ({"SystemCallFilter": False}, {"SystemCallFilter": []}),
        ({"SystemCallFilter": "@system-service"}, {"SystemCallFilter": ["@system-service"]}),
        ({"ReadWritePaths": ["/srv/a", "-/srv/b c"]}, {"ReadWritePaths": ["/srv/a", "-/srv/b c"]}),
        ({"PrivateNetwork": True, "UMask": "0077"}, {"PrivateNetwork": ["true"], "UMask": ["0077"]}),
    ],
)
def test_a_switch_goes_over_the_defaults_and_leaves_the_rest(switch: dict[str, Any], lines: dict[str, list]) -> None:
    assert list(sandbox.problems(switch, "celery_sandbox")) == []
    directives = sandbox.systemd_sandbox(switch)
    assert {name: [value for key, value in directives if key == name] for name in lines} == lines
    assert [line for line in directives if line[0] not in switch] == [
        line for line in sandbox.systemd_sandbox({}) if line[0] not in switch
    ]


def test_the_defaults_are_right_themselves() -> None:
    assert list(sandbox.problems(sandbox.DEFAULTS, "celery_sandbox")) == []


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        ([], "celery_sandbox is []: write a mapping"),
        (None, "celery_sandbox is None"),
        ({"MemoryDenyWriteExecut": False}, "'MemoryDenyWriteExecut': write MemoryDenyWriteExecute."),
        ({"ExecStart": "/bin/sh"}, "has the unknown directive 'ExecStart'"),
        ({1: False}, "has the unknown directive 1: use one of AmbientCapabilities, "),
        ({"MemoryDenyWriteExecute": "flase"}, "is 'flase': give it true or false."),
        ({"PrivateDevices": 1}, "celery_sandbox.PrivateDevices is 1: give it true or false."),
        ({"ProtectHome": "readonly"}, "give it true or read-only or tmpfs or false."),
        ({"ProcSubset": True}, "give it all or pid or false."),
        ({"CapabilityBoundingSet": True}, "is True: give it a string, or a list of strings"),
        ({"UMask": 18}, "is 18: give it a mode in quotes"),
        ({"UMask": "077\n"}, "give it a mode in quotes"),
        ({"ReadWritePaths": ["/srv\nUser=root"]}, "without a line break"),
        ({"ReadWritePaths": {"a": "b"}}, "without a line break"),
        ({"ReadWritePaths": [False]}, "without a line break"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(switch: Any, said: str) -> None:
    (problem,) = sandbox.problems(switch, "celery_sandbox")
    assert said in problem
    assert problem.endswith(".")
    with pytest.raises(AnsibleFilterError, match="the sandbox"):
        sandbox.systemd_sandbox(switch)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["full", "tmpfs", "0077"]),
    st.lists,
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*sandbox.DEFAULTS, *sorted(sandbox.MORE), "x"]), VALUES, max_size=3))
def test_what_has_no_problem_is_lines_of_text(switch: dict[str, Any]) -> None:
    if not list(sandbox.problems(switch, "celery_sandbox")):
        assert all(isinstance(value, str) and value.isprintable() for _, value in sandbox.systemd_sandbox(switch))


def test_the_readmes_table_says_the_defaults() -> None:
    text = (ROOT / "roles/celery/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.*?) \|", text, re.MULTILINE)
    told = {name: re.findall(r"`([^`]*)`", value) for name, value in rows}
    assert told == {
        name: ["true" if item is True else item or '""' for item in (value if isinstance(value, list) else [value])]
        for name, value in sandbox.DEFAULTS.items()
    }
