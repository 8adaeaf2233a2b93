"""plugins/plugin_utils/app_rollback.py: which release a fleet goes back to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils.app_rollback import rollback_release


def found(**releases: float | None) -> dict[str, Any]:
    """What a host's find returns: releases with the time at which they were live, None for never."""
    files = []
    for release, time in releases.items():
        files.append({"path": f"/opt/shop/releases/{release}/.celeriac-complete", "mtime": 1.0})
        if time is not None:
            files.append({"path": f"/opt/shop/releases/{release}/.celeriac-live", "mtime": time})
    return {"files": files}


@pytest.mark.parametrize(
    ("hosts", "named", "release"),
    [
        pytest.param({"a": found(one=10, two=20)}, "", "one", id="the one before"),
        pytest.param({"a": found(one=30, two=20)}, "", "two", id="after a rollback the one that was left"),
        pytest.param({"a": found(one=10, two=20, three=None)}, "", "one", id="one that was never live doesn't count"),
        pytest.param({"a": found(one=10, two=20), "b": found(one=11, two=None)}, "", "one", id="stopped after a"),
        pytest.param(
            {"a": found(one=10, two=20), "b": found(zero=5, one=11, two=None)}, "", "one", id="b has older ones"
        ),
        pytest.param({"a": found(one=10, two=20, three=30)}, "one", "one", id="named"),
        pytest.param({"a": found(one=10, two=None)}, "two", "two", id="named, never live"),
    ],
)
def test_the_release_to_go_back_to(hosts: dict[str, Any], named: str, release: str) -> None:
    assert rollback_release(hosts, named) == {"release": release, "problem": ""}


@pytest.mark.parametrize(
    ("hosts", "named", "said"),
    [
        ({"a": found(one=10)}, "", "nothing to go back to"),
        ({"a": {}}, "", "nothing to go back to"),
        ({"a": found(one=10, two=20), "b": found(two=20)}, "", "'one' isn't on b"),
        ({"a": found(one=10, two=20), "b": found(two=20)}, "", "all have, two, or deploy"),
        ({"a": found(one=10)}, "gone", "'gone' isn't on a"),
    ],
)
def test_what_not_every_host_has_is_refused(hosts: dict[str, Any], named: str, said: str) -> None:
    answer = rollback_release(hosts, named)
    assert answer["release"] == ""
    assert said in answer["problem"]
