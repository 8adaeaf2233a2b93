"""plugins/modules/celery_check.py: real releases, imported by a real Celery."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail
from ansible_collections.celeriac.fleet.plugins.modules import celery_check as plugin
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import program

from tests.support.harness import run_module

ME = pwd.getpwuid(os.geteuid()).pw_name

SHOP = """
import os
from celery import Celery
app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"])
app.conf.task_acks_late = app.conf.task_reject_on_worker_lost = True
app.conf.broker_transport_options = {"visibility_timeout": 7200}
app.conf.task_default_queue = "default"
@app.task(name="shop.pay")
def pay(): pass
"""
MORE = '@app.task(name="shop.ship")\ndef ship(): pass\n'

Check = Callable[..., dict[str, Any]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Make the release ``name`` of the module ``source``, and check it."""
    (tmp_path / "env").write_text('CELERY_BROKER_URL="redis://secret:pass@nowhere/0"\n')

    def check(source: str, name: str = "one", *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        release = tmp_path / name
        release.mkdir(exist_ok=True)
        if not (release / ".venv").exists():
            (release / ".venv").symlink_to(Path(sys.executable).parents[1])
        (release / "shop.py").write_text(source)
        given = {
            "app": "shop",
            "directory": str(release),
            "current": str(tmp_path / "current"),
            "environment_file": str(tmp_path / "env"),
            "user": ME,
            "fleet_queues": ["default"],
            "digest": "d",
            "program": program(),
            "trail": str(tmp_path / "trail" / "rollouts.jsonl"),
            "by": "alice",
            "controller": "ctl",
        }
        return run_module(plugin, {**given, **arguments}, tmp_path, check=check)

    return check


def test_a_sound_release_is_good_and_its_tasks_are_known(check: Check) -> None:
    result = check(SHOP + MORE, visibility_timeout=7200, scheduler="celery.beat.PersistentScheduler")
    assert not result["changed"]
    assert result["tasks"] == ["shop.pay", "shop.ship"]
    assert result["advice"] == []


@pytest.mark.parametrize(
    ("source", "arguments", "said"),
    [
        pytest.param("import nothing_such", {}, "No module named 'nothing_such'", id="import"),
        pytest.param("raise RuntimeError('no database')", {}, "RuntimeError: no database", id="raises"),
        pytest.param(SHOP.split("@app.task")[0], {}, "shop registers no task", id="no task"),
        pytest.param(
            SHOP + "app.conf.beat_schedule = {'daily': {'task': 'shop.count', 'schedule': 60}}\n",
            {},
            "its schedule has shop.count, which no module registers",
            id="schedule",
        ),
        pytest.param(
            SHOP, {"pools": ["gevent"]}, "a node has the pool gevent, and No module named 'gevent'", id="pool"
        ),
        pytest.param(SHOP, {"scheduler": "redbeat.RedBeatScheduler"}, "beat's scheduler is redbeat", id="scheduler"),
        pytest.param(
            SHOP + "app.conf.task_routes = {'shop.*': {'queue': 'mail'}}\n",
            {},
            "shop routes tasks to mail, which no node consumes",
            id="route",
        ),
        pytest.param("import celery\ncelery.VERSION = (5, 6, 0)\n" + SHOP, {}, None, id="not fooled"),
    ],
)
def test_what_can_not_run_is_refused_in_a_sentence(
    check: Check, source: str, arguments: dict[str, Any], said: str | None
) -> None:
    result = check(source, **arguments)
    if said is None:
        assert "failed" not in result
    else:
        assert result["msg"].startswith("Release one isn't used, the running one is untouched: ")
        assert said in result["msg"]
        assert "secret" not in result["msg"]


def test_tasks_that_are_gone_are_warned_of(check: Check, tmp_path: Path) -> None:
    check(SHOP + MORE)
    (tmp_path / "current").symlink_to(tmp_path / "one")
    assert "no longer has shop.ship" in check(SHOP, "two")["advice"][0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("task_acks_late", "task_acks_late is off"),
        ("task_reject_on_worker_lost", "task_reject_on_worker_lost is off"),
    ],
)
def test_settings_that_lose_tasks_are_warned_of(check: Check, setting: str, said: str) -> None:
    source = f"{SHOP}app.conf.{setting} = False\napp.conf.broker_transport_options = {{}}\n"
    lost, timeout = check(source, visibility_timeout=7200)["advice"]
    assert said in lost
    assert "visibility_timeout is 3600 s, the inventory's" in timeout


def test_a_retry_that_outlasts_the_visibility_timeout_is_warned_of(check: Check) -> None:
    """After its worker was lost; Celery's default_retry_delay is 180 s."""
    short = SHOP.replace("7200", "60") + "app.conf.task_retry_on_worker_lost = True\n"
    (warning,) = check(short)["advice"]
    assert warning.startswith("shop.pay waits default_retry_delay seconds")
    assert check(short.replace('"shop.pay"', '"shop.pay", default_retry_delay=5'), "two")["advice"] == []


def test_what_was_found_good_is_not_imported_again(check: Check, tmp_path: Path) -> None:
    check(SHOP)
    assert (tmp_path / "one" / ".celeriac-checked").stat().st_mode & 0o777 == 0o600
    assert check("raise RuntimeError")["tasks"] == ["shop.pay"]
    assert "RuntimeError" in check("raise RuntimeError", digest="other")["msg"]


def test_another_environment_is_another_check(check: Check, tmp_path: Path) -> None:
    check(SHOP)
    (tmp_path / "env").write_text("")
    assert "KeyError: 'CELERY_BROKER_URL'" in check(SHOP)["msg"]


def test_check_mode_leaves_nothing_behind_and_gets_along_without_a_release(check: Check, tmp_path: Path) -> None:
    assert check(SHOP, check=True)["tasks"] == ["shop.pay"]
    assert not (tmp_path / "one" / ".celeriac-checked").exists()
    assert check(SHOP, check=True, directory=str(tmp_path / "none"))["tasks"] == []


def test_a_release_that_is_refused_is_in_the_trail(check: Check, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(tmp_path / "zero")
    check("raise RuntimeError('no database')", check=True)
    check(SHOP)
    assert not (tmp_path / "trail").exists()
    check("raise RuntimeError('no database')", "two")
    (entry,) = Trail(str(tmp_path / "trail" / "rollouts.jsonl")).entries()
    assert {key: entry[key] for key in ("result", "release", "before", "by", "controller", "reason")} == {
        "result": "refused",
        "release": "two",
        "before": "zero",
        "by": "alice",
        "controller": "ctl",
        "reason": "importing shop failed: RuntimeError: no database",
    }


def test_what_it_says_is_in_the_trail_without_secrets(check: Check, tmp_path: Path) -> None:
    check("import os\nraise RuntimeError('bad DSN ' + os.environ['CELERY_BROKER_URL'] + ' or amqp://u:pw@mq')")
    (entry,) = Trail(str(tmp_path / "trail" / "rollouts.jsonl")).entries()
    assert entry["reason"] == "importing shop failed: RuntimeError: bad DSN *** or amqp://***@mq"


def test_a_trail_that_can_not_be_written_hides_no_reason(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    result = check("raise RuntimeError('no database')", trail=str(tmp_path / "file" / "rollouts.jsonl"))
    assert "RuntimeError: no database" in result["msg"]
    assert "can't be written: File exists." in capsys.readouterr().err
