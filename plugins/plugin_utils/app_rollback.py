"""Filters of playbooks/rollback.yml: which release to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import COMPLETE, LIVE

Found = Mapping[str, Any]


def rollback_release(hosts: Mapping[str, Found], named: str = "") -> dict[str, str]:
    """The release to go back to, on all hosts.

    Which release is live is a matter of the fleet: a rollout that was stopped leaves it on some hosts only, and they
    have to go back to what the others still run.

    :param hosts: worker host -> what ``ansible.builtin.find`` found of each release's marks, with their times
    :param named: the id of a release, else the one that was live before the last one
    :returns: ``release``, or ``problem``, a sentence; the other is empty
    """
    there = {host: _releases(found, COMPLETE) for host, found in hosts.items()}
    live: dict[str, float] = {}
    for found in hosts.values():
        for release, time in _releases(found, LIVE).items():
            live[release] = max(time, live.get(release, 0.0))
    order = sorted(live, key=lambda release: live[release], reverse=True)
    target = named or (order[1] if len(order) > 1 else "")
    if not target:
        return {"release": "", "problem": "No release was live before the one that is: there is nothing to go back to."}
    missing = sorted(host for host, releases in there.items() if target not in releases)
    if not missing:
        return {"release": target, "problem": ""}
    everywhere = [release for release in order if all(release in releases for releases in there.values())]
    return {
        "release": "",
        "problem": f"The release {target!r} isn't on {', '.join(missing)}: set rollback_release to one that all have, "
        f"{', '.join(everywhere) or 'of which there is none'}, or deploy the version again.",
    }


def _releases(found: Found, mark: str) -> dict[str, float]:
    paths = {PurePosixPath(file["path"]): float(file["mtime"]) for file in found.get("files", [])}
    return {path.parent.name: time for path, time in paths.items() if path.name == mark}
