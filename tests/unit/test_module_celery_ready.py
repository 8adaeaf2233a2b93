"""plugins/modules/celery_ready.py: what it makes of the nodes' answers. The question: tests/integration/celery."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from harness import load, run_module

PLUGIN = "plugins/modules/celery_ready.py"
plugin = load(PLUGIN)
CRAWLER = f"crawler@{socket.gethostname()}"
ANSWER = {"seen": {CRAWLER: ["a", "b"]}, "pong": [CRAWLER], "routed": ["a"]}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A=", ""),
        ('A=""', ""),
        ('A="a b"', "a b"),
        ("A='a \"b\" $c'", 'a "b" $c'),
        (r'A="\"\\\$\`"', '"\\$`'),
        (r'A="\n"', r"\n"),
        (r"A=a\ b", "a b"),
        ("A=x=y", "x=y"),
        ("  A = x", "x"),
        ("A=\"a\"'b'c", "abc"),
    ],
)
def test_values_are_unquoted_as_systemd_does_it(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / "env").write_text(f"# comment\n; comment\n\n{line}\nno assignment\n")
    assert plugin.environment(str(tmp_path / "env")) == {"A": value}


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the module; the nodes answer ``ANSWER`` with changes."""

    def run(*, check: bool = False, fleet: tuple[str, ...] = ("a", "b"), **changes: Any) -> dict[str, Any]:
        monkeypatch.setattr(plugin, "ask", lambda *_args: {**ANSWER, **changes})
        node = {"name": "crawler", "queues": ["b", "a"], "unit": "no-such@crawler.service"}
        rest = dict.fromkeys(("directory", "virtualenv", "environment_file"), "/x")
        arguments = {"app": "shop", "nodes": [node], "fleet_queues": list(fleet), "user": "shop", "timeout": 3, **rest}
        return run_module(PLUGIN, arguments, tmp_path, check=check)

    return run


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the module runs, instead of running them."""
    ran: list[list[str]] = []

    def run_command(_module: Any, command: list[str], **_options: Any) -> tuple[int, str, str]:
        ran.append(command)
        return 0, "failed failed exit-code\n" if "show" in command else "ImportError: no module\n", ""

    monkeypatch.setattr(plugin.AnsibleModule, "run_command", run_command)
    return ran


def test_nodes_that_answer_with_their_queues_are_ready(ready: Any) -> None:
    result = ready()
    assert not result["changed"]
    assert result["nodes"] == {CRAWLER: ["a", "b"]}


def test_check_mode_asks_nobody(ready: Any) -> None:
    assert ready(check=True, pong=[]) == ready(check=True) | {"nodes": {}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pong": []}, f"No answer from {CRAWLER} within 3 seconds."),
        ({"seen": {CRAWLER: ["a"]}}, f"{CRAWLER} consumes a, not b, a."),
        ({"seen": {}}, f"{CRAWLER} consumes nothing, not b, a."),
        ({"seen": {CRAWLER: ["a", "b", "c"]}}, f"{CRAWLER} consumes a, b, c, not b, a."),
    ],
)
def test_a_node_that_is_not_ready_fails_with_the_state_and_journal_of_its_unit(
    ready: Any, commands: list[list[str]], changes: dict[str, Any], said: str
) -> None:
    result = ready(**changes)
    assert result["failed"]
    first, *rest = result["msg"].splitlines()
    assert first == said
    assert rest == ["no-such@crawler.service is failed failed exit-code. Its journal:", "ImportError: no module"]
    assert any(command[0] == "journalctl" for command in commands)


def test_a_routed_queue_that_nobody_consumes_fails(ready: Any) -> None:
    result = ready(routed=["a", "mail"])
    assert result["failed"]
    assert result["msg"].startswith("shop routes tasks to mail, which no node consumes: add it")


def test_a_queue_consumed_elsewhere_in_the_fleet_is_served(ready: Any) -> None:
    assert "failed" not in ready(routed=["a", "mail"], fleet=("a", "b", "mail"))


def test_the_probe_is_valid_python() -> None:
    compile(plugin.PROBE, "probe", "exec")
