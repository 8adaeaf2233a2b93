#!/usr/bin/python
"""Bring a set of systemd units to their state in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_units
short_description: Enable, start and restart a set of systemd units, and retire those that left it, in one call
description:
  - Reloads systemd if a unit file changed on disk, enables and starts each unit of I(units).
  - Restarts a running unit that began before its unit files or any of its I(inputs) were last changed, or whose program
    was replaced by a package's upgrade. What needs a restart is read off the host, not off what this play changed, so a
    run that was interrupted is repaired by the next.
  - Stops and disables units that match I(retire) and aren't in I(units) or I(keep).
options:
  units:
    description: Units that have to be enabled, running and current.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: "Full name, such as C(chatlite-worker@crawler.service).", type: str, required: true}
      inputs:
        description: Files or links, besides the unit's own files, after whose change the unit has to be restarted.
        type: list
        elements: path
        default: []
      start: {description: Whether to start the unit., type: bool, default: true}
  retire:
    description: Glob patterns of units that have no place on this host unless they are in I(units) or I(keep).
    type: list
    elements: str
    default: []
  keep:
    description: Units that are left alone although they match I(retire).
    type: list
    elements: str
    default: []
  mask:
    description: Units that must never run on this host.
    type: list
    elements: str
    default: []
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Run the nodes
  celeriac.fleet.systemd_units:
    units:
      - name: chatlite-worker@crawler.service
        inputs: [/etc/chatlite/chatlite.env, /opt/chatlite/current]
"""

RETURN = r"""
retired: {description: Units that were stopped and disabled., returned: always, type: list, elements: str}
masked: {description: Units that were masked., returned: always, type: list, elements: str}
enabled: {description: Units that were enabled., returned: always, type: list, elements: str}
started: {description: Units that were started., returned: always, type: list, elements: str}
restarted: {description: Units that were restarted., returned: always, type: list, elements: str}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.systemd_state import Units

STRINGS = {"type": "list", "elements": "str", "default": []}
ARGUMENT_SPEC: dict[str, Any] = {
    "units": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"required": True},
            "inputs": {"type": "list", "elements": "path", "default": []},
            "start": {"type": "bool", "default": True},
        },
    },
    "retire": STRINGS,
    "keep": STRINGS,
    "mask": STRINGS,
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    units = Units(module)
    wanted = module.params["units"]
    units.retire(module.params["retire"], {unit["name"] for unit in wanted} | set(module.params["keep"]))
    units.mask(module.params["mask"])
    units.settle(wanted)
    after = "".join(f"{verb}: {', '.join(names)}\n" for verb, names in units.done.items() if names)
    module.exit_json(changed=bool(after), diff={"before": "", "after": after}, **units.done)


if __name__ == "__main__":
    main()
