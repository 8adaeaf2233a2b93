"""The documentation of the action plugin of the same name; there is no module."""

from __future__ import annotations

DOCUMENTATION = """
module: debian_packages
short_description: Install Debian packages, asking dpkg first
description:
  - Where all packages are installed, this costs a tenth of M(ansible.builtin.apt), which is run only if one is
    missing.
  - Packages that are recommended aren't installed. Lists of packages are renewed if they are older than a day.
options:
  name:
    description: Names of the packages, at least one.
    type: list
    elements: str
    required: true
  others:
    description:
      - Packages that tasks to come ask for. Where one of O(name) is missing, they are installed with it, in one
        transaction of apt. That they are missing alone is left to those tasks.
    type: list
    elements: str
    default: []
  mask:
    description:
      - Units that may never run on this host, masked before the packages bring them. Debian's packages don't start
        what is masked.
    type: list
    elements: str
    default: []
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: The Celeriac developers
"""

EXAMPLES = """
- name: Install the server without starting it
  celeriac.fleet.debian_packages:
    name: [redis-server, redis-tools]
    mask: [redis-server.service]

- name: Install what this role needs, and with it what the next one does
  celeriac.fleet.debian_packages:
    name: [python3-venv]
    others: [logrotate]
"""

RETURN = """
versions:
  description: Package to upstream version, of those of O(name) that are installed.
  returned: always
  type: dict
  sample: {redis-server: 7.0.15}
"""
