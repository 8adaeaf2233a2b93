"""plugins/modules/celery_rollout.py: in which order, what a failing gate does; systemctl and the nodes only pretend.

Real nodes: tests/integration/celery and tests/integration/deploy.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import systemd_state as state
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import ProbeError
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail
from ansible_collections.celeriac.fleet.plugins.module_utils.undo import Undo
from ansible_collections.celeriac.fleet.plugins.modules import celery_rollout as plugin

from tests.support.harness import run_module
from tests.support.systemctl import NEW, RUNNING, STOPPED, Systemctl

HOST = socket.gethostname()
TARGET = "shop-workers.target"
A, B = "shop-worker@a.service", "shop-worker@b.service"
MASKED = {**STOPPED, "LoadState": "masked"}
Rollout = Callable[..., dict[str, Any]]


class Nodes:
    """The nodes' side: which are silent or consume something else, and the probes that asked them."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.queues: dict[str, list[str]] = {}
        self.routed = ["default"]
        self.old: dict[str, str] = {}
        self.dead = ""
        self.mended: set[str] = set()  # consume their queues once they were drained, and so restarted
        self.asked: list[list[str]] = []
        self.drained: list[list[str]] = []
        self.apps: list[str] = []

    def probe(self, *_: Any) -> Nodes:
        return self

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, function: str, *, limit: float, **ask: Any) -> Any:
        if self.dead:
            raise ProbeError(self.dead)
        if function == "load":
            self.apps.append(ask["app"])
        if function in ("load", "outdated", "routed", "consume"):
            return {"routed": self.routed, "outdated": self.old}.get(function)
        if function == "drain":
            self.drained.append([name.split("@")[0] for name in ask["nodes"]])
            for name in self.mended & set(self.drained[-1]):
                self.queues.pop(name)
            return None
        self.asked.append([name.split("@")[0] for name in ask["nodes"]])
        seen = {
            name: None if name.split("@")[0] in self.silent else self.queues.get(name.split("@")[0], queues or ["x"])
            for name, queues in ask["nodes"].items()
        }
        ready = all(seen[n] if q is None else seen[n] == q for n, q in ask["nodes"].items())
        return {"ready": ready, "seen": seen}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    pretended = Nodes()
    monkeypatch.setattr(plugin, "Probe", pretended.probe)
    return pretended


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemctl:
    """Units ``a`` and ``b`` run; their drop-ins are there."""
    pretended = Systemctl()
    pretended.units = {TARGET: dict(RUNNING), A: dict(RUNNING), B: dict(RUNNING)}
    monkeypatch.setattr(plugin.AnsibleModule, "run_command", lambda _module, command: pretended.run(command))
    monkeypatch.setattr(plugin.AnsibleModule, "get_bin_path", lambda *_args, **_kwargs: "systemctl")
    for module in (plugin, state):
        monkeypatch.setattr(module, "SYSTEM", str(tmp_path / "system"))
    for unit in (A, B):
        (tmp_path / "system" / f"{unit}.d").mkdir(parents=True)
        (tmp_path / "system" / f"{unit}.d" / "node.conf").write_text("[Service]\nExecStart=celery --app=shop.old\n")
    return pretended


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    """``current`` points to the release ``two``; ``one`` was live before."""
    for name in ("one", "two"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "two")
    return tmp_path


@pytest.fixture
def rollout(systemctl: Systemctl, nodes: Nodes, opt: Path) -> Rollout:
    """Run the module on the nodes a (queue default) and b (queue mail)."""

    def run(*, check: bool = False, changed: tuple[str, ...] = (), **arguments: Any) -> dict[str, Any]:
        inputs = {}
        for name in ("a", "b"):
            inputs[name] = opt / f"{name}.env"
            inputs[name].touch()
            os.utime(inputs[name], None if name in changed else (0, 0))
        given = {
            "app": "shop",
            "nodes": [
                {"name": "a", "queues": ["default"], "unit": A, "inputs": [str(inputs["a"])]},
                {"name": "b", "queues": ["mail"], "unit": B, "inputs": [str(inputs["b"])]},
            ],
            "target": TARGET,
            "fleet_queues": ["default", "mail"],
            "directory": str(opt / "current"),
            "virtualenv": "/x",
            "environment_file": "/x",
            "user": "shop",
            "undo": str(opt / "undo"),
            "trail": str(opt / "trail" / "rollouts.jsonl"),
            "by": "alice",
            "controller": "ctl",
            "timeout": 0,
        }
        return run_module(plugin, {**given, **arguments}, opt, check=check)

    return run


def trail(opt: Path) -> list[dict[str, Any]]:
    return Trail(str(opt / "trail" / "rollouts.jsonl")).entries()


def changes(systemctl: Systemctl) -> list[tuple[str, ...]]:
    return [did for did in systemctl.did if did[0] in ("restart", "start", "enable", "disable")]


def test_nodes_that_are_current_are_asked_and_left_alone(rollout: Rollout, systemctl: Systemctl, nodes: Nodes) -> None:
    result = rollout()
    assert not result["changed"]
    assert result["nodes"] == {f"a@{HOST}": ["default"], f"b@{HOST}": ["mail"]}
    assert systemctl.did == []
    assert nodes.asked == [["a", "b"], ["a", "b"]]
    assert nodes.drained == []


def test_each_restart_waits_for_the_one_before(rollout: Rollout, systemctl: Systemctl, nodes: Nodes) -> None:
    result = rollout(changed=("a", "b"))
    assert (result["restarted"], result["started"]) == ([A, B], [])
    assert changes(systemctl) == [("restart", A), ("restart", B)]
    assert nodes.asked == [["a"], ["b"], ["a", "b"]]
    assert nodes.drained == [["a"], ["b"]]
    assert set(result["seconds"]) == {A, B}


def test_a_node_that_does_not_run_is_not_drained(rollout: Rollout, systemctl: Systemctl, nodes: Nodes) -> None:
    systemctl.units[A] = dict(STOPPED)
    assert rollout(changed=("b",))["started"] == [A]
    assert nodes.drained == [["b"]]


def test_a_node_that_was_drained_and_not_restarted_is_restarted(
    rollout: Rollout, systemctl: Systemctl, nodes: Nodes
) -> None:
    """By a rollout that was killed in between: nothing on the disk tells of it."""
    nodes.queues = {"a": []}
    nodes.mended = {"a"}
    assert rollout()["restarted"] == [A]
    assert changes(systemctl) == [("restart", A)]


def test_nodes_of_a_batch_restart_at_once(rollout: Rollout, systemctl: Systemctl, nodes: Nodes) -> None:
    rollout(changed=("a", "b"), batch=2)
    assert changes(systemctl) == [("restart", A, B)]
    assert nodes.drained == [["a", "b"]]


def test_only_what_changed_is_restarted(rollout: Rollout, systemctl: Systemctl) -> None:
    assert rollout(changed=("b",))["restarted"] == [B]
    assert changes(systemctl) == [("restart", B)]


def test_on_a_new_host_all_start_at_once(rollout: Rollout, systemctl: Systemctl) -> None:
    systemctl.units = {TARGET: dict(NEW), A: dict(NEW), B: dict(NEW)}
    assert rollout()["started"] == [TARGET, A, B]
    assert changes(systemctl) == [("enable", TARGET, A, B), ("restart", A, B), ("start", TARGET)]


def test_a_target_that_changed_restarts_no_node(rollout: Rollout, systemctl: Systemctl, opt: Path) -> None:
    (opt / "target").touch()
    systemctl.units[TARGET]["FragmentPath"] = str(opt / "target")
    assert rollout()["restarted"] == []
    assert changes(systemctl) == []


def test_all_nodes_restart_where_that_is_asked(rollout: Rollout, systemctl: Systemctl) -> None:
    assert rollout(restart=True)["restarted"] == [A, B]


def test_a_held_node_is_left_alone(rollout: Rollout, systemctl: Systemctl, nodes: Nodes) -> None:
    systemctl.units[A] = dict(MASKED)
    result = rollout(changed=("a", "b"))
    assert (result["held"], result["restarted"]) == ([A], [B])
    assert nodes.asked == [["b"], ["b"]]
    assert nodes.drained == [["b"]]


def test_check_mode_says_what_is_due_and_does_nothing(rollout: Rollout, systemctl: Systemctl, nodes: Nodes) -> None:
    result = rollout(check=True, changed=("a",))
    assert (result["changed"], result["restarted"]) == (True, [A])
    assert (changes(systemctl), nodes.asked) == ([], [])


def test_a_release_that_came_up_is_stamped_and_the_journal_ends(rollout: Rollout, opt: Path) -> None:
    Undo(str(opt / "undo")).save(str(opt / "current"))
    assert "failed" not in rollout()
    assert (opt / "releases" / "two" / ".celeriac-live").exists()
    assert not (opt / "undo").exists()


def test_a_release_that_was_live_before_is_not_stamped_anew(rollout: Rollout, opt: Path) -> None:
    stamp = opt / "releases" / "two" / ".celeriac-live"
    stamp.touch()
    os.utime(stamp, (100, 100))
    rollout()
    assert stamp.stat().st_mtime == 100


# -- a gate that fails


@pytest.fixture
def switched(opt: Path) -> Path:
    """A deployment switched ``current`` from one to two, and changed b's unit."""
    (opt / "current").unlink()
    (opt / "current").symlink_to(opt / "releases" / "one")
    undo = Undo(str(opt / "undo"))
    undo.save(str(opt / "current"))
    undo.save(str(opt / "system" / f"{B}.d" / "node.conf"))
    (opt / "current").unlink()
    (opt / "current").symlink_to(opt / "releases" / "two")
    (opt / "system" / f"{B}.d" / "node.conf").write_text("[Service]\nExecStart=celery --app=shop.new\n")
    return opt


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        ({"silent": {"a"}}, f"No answer from a@{HOST} within 0 seconds."),
        ({"queues": {"a": ["celery"]}}, f"a@{HOST} consumes celery, not default."),
        ({"routed": ["default", "fax"]}, "shop routes tasks to fax, which no node consumes"),
        ({"dead": "ImportError: no shop"}, "shop can't ask its nodes: ImportError: no shop"),
    ],
)
def test_the_previous_release_is_put_back(
    rollout: Rollout, switched: Path, nodes: Nodes, behave: dict[str, Any], said: str
) -> None:
    for name, value in behave.items():
        setattr(nodes, name, value)
    result = rollout(changed=("a", "b"))
    first, second, *_ = result["msg"].splitlines()
    assert first.startswith(f"Release two failed on {HOST}: {said}")
    assert second.startswith(f"Release one was put back on {HOST}")
    assert os.readlink(switched / "current").endswith("/one")
    assert "shop.old" in (switched / "system" / f"{B}.d" / "node.conf").read_text()


def test_the_rest_of_the_host_is_not_restarted(
    rollout: Rollout, switched: Path, systemctl: Systemctl, nodes: Nodes
) -> None:
    """b still runs the old release when a fails."""
    nodes.silent = {"a"}
    systemctl.units[A]["InactiveExitTimestamp"] = "Wed 2125-01-01 12:00:00.000000 UTC"  # after the journal began
    rollout(changed=("b",), restart=True)
    assert [did for did in changes(systemctl) if did[0] == "restart"] == [("restart", A), ("restart", A)]


def test_it_says_whether_the_nodes_answer_again(rollout: Rollout, switched: Path, nodes: Nodes) -> None:
    nodes.queues = {"a": ["celery"]}
    assert "2 of 2 nodes answer again." in rollout(changed=("a",))["msg"]
    assert nodes.apps == ["shop", "shop.old"]
    assert not (switched / "undo").exists()


def test_it_says_so_if_they_do_not_and_keeps_the_journal(rollout: Rollout, switched: Path, nodes: Nodes) -> None:
    nodes.silent = {"a"}
    assert f"but a@{HOST} did not answer" in rollout(changed=("a",))["msg"]
    assert (switched / "undo").exists()


def test_a_node_that_the_deployment_brought_goes_again(
    rollout: Rollout, switched: Path, systemctl: Systemctl, nodes: Nodes
) -> None:
    nodes.queues = {"b": ["celery"]}
    (switched / "system" / f"{A}.d" / "node.conf").unlink()
    (switched / "system" / f"{A}.d").rmdir()
    rollout(changed=("b",))
    assert ("disable", A) in changes(systemctl)


def test_a_first_release_has_nothing_to_go_back_to(rollout: Rollout, opt: Path, nodes: Nodes) -> None:
    (opt / "current").unlink()
    Undo(str(opt / "undo")).save(str(opt / "current"))
    (opt / "current").symlink_to(opt / "releases" / "two")
    nodes.silent = {"a"}
    assert "There is no previous release to go back to" in rollout(changed=("a",))["msg"]
    assert os.readlink(opt / "current").endswith("/two")


def test_without_a_change_there_is_nothing_to_undo(rollout: Rollout, nodes: Nodes) -> None:
    nodes.silent = {"a"}
    result = rollout()
    assert "Nothing was changed before" in result["msg"]
    assert f"{A} is " in result["msg"]
    assert "last words" in result["msg"]


def test_logs_are_told_from_where_the_rollout_began_and_without_colours(rollout: Rollout, opt: Path) -> None:
    assert plugin.plain("\x1b[1mone\x1b[0m\n\ntwo\n") == "  one\n\n  two"
    assert plugin.plain("") == "  (nothing)"


def test_an_old_celery_is_refused_before_anything_is_loaded(
    rollout: Rollout, nodes: Nodes, systemctl: Systemctl
) -> None:
    nodes.old = {"celery": "5.6.2"}
    result = rollout(changed=("a",))
    assert "celery 5.6.2 may stop consuming after a reconnect to Redis: require celery>=5.7" in result["msg"]
    assert nodes.apps == []
    assert systemctl.did == []


# -- the trail


def told(opt: Path) -> list[tuple[str, ...]]:
    return [(each["result"], each["release"], each["before"], each["by"], each["controller"]) for each in trail(opt)]


def test_a_rollout_that_restarts_nodes_is_written_down(rollout: Rollout, opt: Path) -> None:
    rollout(changed=("a",))
    assert told(opt) == [("live", "two", "two", "alice", "ctl")]
    assert (trail(opt)[0]["nodes"], trail(opt)[0]["reason"]) == (["a"], "")


def test_a_rollout_that_has_nothing_to_do_is_not(rollout: Rollout, opt: Path) -> None:
    rollout()
    rollout(check=True, changed=("a",))
    assert not (opt / "trail").exists()


def test_one_that_only_ends_what_was_interrupted_is(rollout: Rollout, switched: Path) -> None:
    """Its nodes were restarted before it was killed."""
    rollout()
    assert told(switched) == [("live", "two", "one", "alice", "ctl")]


def test_one_that_was_put_back_is_written_down_and_stays(rollout: Rollout, switched: Path, nodes: Nodes) -> None:
    nodes.queues = {"a": ["celery"]}
    rollout(changed=("a",))
    assert told(switched) == [("reverted", "two", "one", "alice", "ctl")]
    assert trail(switched)[0]["reason"] == f"a@{HOST} consumes celery, not default."


def test_one_that_could_not_be_put_back_failed(rollout: Rollout, switched: Path, nodes: Nodes) -> None:
    nodes.silent = {"a"}
    rollout(changed=("a",))
    assert [result for result, *_ in told(switched)] == ["failed"]


def test_a_node_that_is_silent_is_a_failure_even_if_nothing_changed(rollout: Rollout, opt: Path, nodes: Nodes) -> None:
    nodes.silent = {"a"}
    rollout()
    assert told(opt) == [("failed", "two", "two", "alice", "ctl")]
    assert trail(opt)[0]["nodes"] == []


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written to the disk of the trail."""

    def write(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Trail, "_write", write)


@pytest.mark.usefixtures("full")
def test_a_full_disk_under_the_trail_stops_no_rollout(
    rollout: Rollout, switched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = rollout(changed=("a",))
    assert result["restarted"] == [A]
    assert "can't be written: No space left on device." in capsys.readouterr().err
    assert not (switched / "undo").exists()


@pytest.mark.usefixtures("full")
def test_nor_does_it_keep_a_rollout_from_going_back_and_telling_why(
    rollout: Rollout, switched: Path, nodes: Nodes
) -> None:
    nodes.queues = {"a": ["celery"]}
    assert f"a@{HOST} consumes celery, not default." in rollout(changed=("a",))["msg"]
    assert os.readlink(switched / "current").endswith("/one")


def test_it_is_live_before_that_is_written_down(
    rollout: Rollout, switched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[bool] = []
    monkeypatch.setattr(Trail, "end", lambda *_args: there.append((switched / "undo").exists()))
    rollout(changed=("a",))
    assert there == [False]


def test_what_the_application_says_is_written_down_without_secrets(rollout: Rollout, opt: Path, nodes: Nodes) -> None:
    (opt / "env").write_text("API_KEY=tops3cret\n")
    nodes.dead = "RuntimeError: bad DSN redis://u:pw@db/0, key tops3cret"
    rollout(environment_file=str(opt / "env"))
    assert trail(opt)[0]["reason"] == "shop can't ask its nodes: RuntimeError: bad DSN redis://***@db/0, key ***"


def breaks(systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """systemctl fails with the verb ``broken``."""

    def run(_module: Any, command: list[str]) -> tuple[int, str, str]:
        return (1, "", "Job failed.") if broken in command else systemctl.run(command)

    monkeypatch.setattr(plugin.AnsibleModule, "run_command", run)


def test_one_whose_target_did_not_start_failed(
    rollout: Rollout, opt: Path, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl.units[TARGET] = dict(STOPPED)
    breaks(systemctl, monkeypatch, "start")
    assert "Job failed." in rollout(changed=("a",))["msg"]
    (entry,) = trail(opt)
    assert (entry["result"], entry["nodes"]) == ("failed", ["a"])
    assert entry["reason"] == f"systemctl start {TARGET}: Job failed."


def test_one_that_could_not_even_go_back_failed_for_what_it_went_back_for(
    rollout: Rollout, switched: Path, nodes: Nodes, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.queues = {"a": ["celery"]}
    breaks(systemctl, monkeypatch, "daemon-reload")
    assert "Job failed." in rollout(changed=("a",))["msg"]
    (entry,) = trail(switched)
    assert (entry["result"], entry["reason"]) == ("failed", f"a@{HOST} consumes celery, not default.")


def test_one_that_ends_by_what_nobody_expected_failed(
    rollout: Rollout, opt: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin.Rollout, "live", lambda _: (opt / "none").read_text())
    with pytest.raises(FileNotFoundError):
        rollout(changed=("a",))
    (entry,) = trail(opt)
    assert (entry["result"], entry["reason"][:18]) == ("failed", "FileNotFoundError:")
