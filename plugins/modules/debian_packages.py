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
  start:
    description: Whether the packages may start their services while they are installed.
    type: bool
    default: true
  mask:
    description: Units that may never run on this host, masked before the packages bring them.
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
    start: false
    mask: [redis-server.service]
"""

RETURN = """
versions:
  description: Package to upstream version, of those packages that are installed.
  returned: always
  type: dict
  sample: {redis-server: 7.0.15}
"""
