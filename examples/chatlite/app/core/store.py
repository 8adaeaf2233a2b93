"""The application's own records in the result backend's Redis, under the application's key prefix.

Only GET, SET, DEL and WATCH/MULTI/EXEC are used: Celery needs them anyway, so the ACL grants nothing extra for this.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import redis
from celery.backends.redis import RedisBackend
from redis.client import Pipeline

from app.core.celery_config import app, settings


def client() -> redis.Redis:
    """The result backend's connection; shared with Celery, so no second pool and no second password."""
    backend = cast(RedisBackend, app.backend)
    return cast(redis.Redis, backend.client)


def key(name: str) -> str:
    """``name`` under the application's prefix, e.g. ``chatlite:heartbeat``."""
    return f"{settings.keyprefix}{name}"


def read(name: str) -> dict[str, Any] | None:
    """The JSON record ``name``, or None."""
    raw = client().get(key(name))
    return json.loads(cast(bytes, raw)) if raw else None


def update(name: str, change: Callable[[dict[str, Any] | None], dict[str, Any]], ttl: int) -> dict[str, Any]:
    """Replace record ``name`` by ``change(record or None)``, atomically, kept for ``ttl`` seconds; return the new one.

    ``change`` runs again when another client wrote in between, so it must be free of side effects.
    """

    record: dict[str, Any] = {}

    def transact(pipe: Pipeline) -> None:
        nonlocal record
        raw = pipe.get(key(name))
        record = change(json.loads(cast(bytes, raw)) if raw else None)
        pipe.multi()
        pipe.set(key(name), json.dumps(record), ex=ttl)

    client().transaction(transact, key(name))
    return record


def claim(name: str, owner: str, ttl: int) -> bool:
    """Take ``name`` for ``owner`` for ``ttl`` seconds; False when somebody holds it."""
    return bool(client().set(key(name), owner, nx=True, ex=ttl))


def holder(name: str) -> str | None:
    """Who holds the claim ``name``, or None."""
    raw = client().get(key(name))
    return cast(bytes, raw).decode() if raw else None


def release(name: str, owner: str) -> None:
    """Give the claim ``name`` back if ``owner`` still holds it; somebody else's claim is left alone."""

    def transact(pipe: Pipeline) -> None:
        raw = pipe.get(key(name))
        pipe.multi()
        if raw and cast(bytes, raw).decode() == owner:
            pipe.delete(key(name))

    client().transaction(transact, key(name))
