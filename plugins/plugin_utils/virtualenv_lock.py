"""Locks of virtualenvs: what is wrong with one, what it is called, and uv's own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celeriac.fleet.plugins.module_utils.virtualenv import masked

UV_LOCK = Path(__file__).resolve().parents[1] / "data/uv/requirements.txt"
REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*(\[[^\]]*\])?\s*==")
HASH = re.compile(r"\s--hash=sha(256|384|512):[0-9a-f]{64,}(?=\s|\Z)")


def lock_problems(text: str) -> Iterator[str]:
    """What keeps a requirements file from being a lock, a sentence each.

    A lock has no options, such as another index, and for each requirement its version and hashes. Passwords of URLs are
    masked.
    """
    lines = list(_lines(text))
    if not lines:
        yield "The lock is empty: list at least one requirement with its hashes."
    for line in lines:
        name = masked(line.split()[0], {})
        if not REQUIREMENT.match(line):
            yield f"The lock has {name!r}, which is no requirement of one version: leave nothing else in it."
        elif not HASH.search(line):
            yield f"The lock has {name!r} without a hash: compile it with 'uv pip compile --generate-hashes'."


def _lines(text: str) -> Iterator[str]:
    """The lines of a requirements file, continued ones as one, without comments."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if stripped := re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip():
            yield stripped


def lock_id(text: str, settings: Mapping[str, Any]) -> str:
    """What a virtualenv is told from others by: a digest of its lock and of how it is built."""
    content = json.dumps([sorted(_lines(text)), settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def uv_installer() -> dict[str, str]:
    """``uv_lock``, the requirements of uv itself, and ``uv_version``, the version that they pin."""
    lock = UV_LOCK.read_text(encoding="utf-8")
    return {"uv_lock": lock, "uv_version": re.findall(r"^uv==(\S+)", lock, re.MULTILINE)[0]}
