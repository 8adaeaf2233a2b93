"""The environment is checked at import, and the configuration holds what keeps tasks safe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery.app.defaults import NAMESPACES, flatten
from celery.exceptions import ImproperlyConfigured

from app.core.celery_config import QUEUES, ROUTES, app, settings
from app.core.settings import TASK_TIME_LIMIT, Settings

ENV = {"CELERY_BROKER_URL": "redis://broker/0", "CELERY_RESULT_BACKEND": "redis://results/0"}


@pytest.mark.parametrize("name", sorted(ENV))
@pytest.mark.parametrize("value", [None, " "])
def test_missing_url_is_named(name: str, value: str | None) -> None:
    environ = {key: text for key, text in ENV.items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is not set"):
        Settings.from_env(environ)


def test_import_without_environment_fails_naming_the_variable() -> None:
    code = "import app.core.celery_config"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "CELERY_BROKER_URL is not set" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CELERY_VISIBILITY_TIMEOUT", str(TASK_TIME_LIMIT), "must exceed task_time_limit"),
        ("CELERY_VISIBILITY_TIMEOUT", "1h", "give whole seconds"),
        ("CHATLITE_HEARTBEAT_SECONDS", "0", "give whole seconds, at least 1"),
        ("CHATLITE_RECRAWL_SECONDS", "-5", "give whole seconds, at least 1"),
        ("CELERY_GLOBAL_KEYPREFIX", "chatlite", "end it with one of"),
    ],
)
def test_wrong_value_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{name} is .*{message}"):
        Settings.from_env(ENV | {name: value})


def test_defaults() -> None:
    assert Settings.from_env(ENV) == Settings("", 3600, (), 60, 3600, "chatlite/1.0")


def test_seeds_are_split_and_unique() -> None:
    assert Settings.from_env(ENV | {"CHATLITE_SEEDS": " http://a/  http://b/ http://a/"}).seeds == (
        "http://a/",
        "http://b/",
    )


def test_every_setting_is_one_celery_knows() -> None:
    known = {str(option[0]) for option in flatten(NAMESPACES)}
    known |= {"redis_backend_health_check_interval"}  # read by the backend without being declared; checked below
    known |= {"deprecated_settings"}  # Celery's own bookkeeping
    unknown = set(app.conf.changes or {}) - known
    assert not unknown, f"Celery ignores {unknown}"


def test_every_task_has_the_queue_of_its_module() -> None:
    app.loader.import_default_modules()
    own = [name for name in app.tasks if name.startswith("app.tasks.")]
    queues = {name: app.amqp.router.route({}, name)["queue"].name for name in own}
    expected = {name: ROUTES.get(name.rpartition(".")[0] + ".*", "default") for name in own}
    assert queues == expected
    assert set(queues.values()) == set(QUEUES), "some queue has no task"


def test_beat_runs_known_tasks() -> None:
    app.loader.import_default_modules()
    entries = app.conf.beat_schedule.values()
    assert {entry["task"] for entry in entries} <= set(app.tasks)
    assert all(entry["options"]["expires"] == entry["schedule"] for entry in entries)


def test_own_tasks_take_the_retry_policy() -> None:
    app.loader.import_default_modules()
    for name in [name for name in app.tasks if name.startswith("app.tasks.")]:
        task: Any = app.tasks[name]
        assert (task.max_retries, task.default_retry_delay) == (3, 60), name
        assert all((task.acks_late, task.reject_on_worker_lost, task.retry_on_worker_lost)), name


def test_one_prefix_and_the_given_address_on_both_sides() -> None:
    assert app.conf.broker_transport_options["global_keyprefix"] == settings.keyprefix == "chatlite:"
    backend: Any = app.backend
    assert backend.task_keyprefix == b"chatlite:celery-task-meta-"
    assert (app.connection().hostname, app.connection().port) == ("127.0.0.1", 1)


def test_backend_connection_has_its_timeouts() -> None:
    wanted = {
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
    backend: Any = app.backend
    assert wanted.items() <= backend.connparams.items()
