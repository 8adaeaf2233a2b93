"""The documentation of the action plugin of the same name; there is no module."""

from __future__ import annotations

DOCUMENTATION = """
module: redis_host
short_description: Look at a host for what the role redis has to know of it
description:
  - Changes nothing. It is one shell command, which needs no Python on the host.
options:
  flavor:
    description: Which server's users and certificate to look at.
    type: str
    required: true
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = """
- name: Look at the host
  celeriac.fleet.redis_host:
    flavor: redis
  register: found
"""

RETURN = """
memory:
  description: The host's memory in bytes.
  returned: always
  type: int
  sample: 2147483648
container:
  description: Whether the host is a container, which can't set the kernel's parameters.
  returned: always
  type: bool
  sample: false
sysctl:
  description: Parameter of the kernel to its value, of those that the role sets.
  returned: always
  type: dict
  sample: {vm.overcommit_memory: 1, net.core.somaxconn: 4096}
instances:
  description: Flavor to the names of the instances that the role made.
  returned: always
  type: dict
  sample: {redis: [broker], valkey: []}
data:
  description: Flavor to the names of the directories below C(/var/lib/<flavor>) that hold a dataset.
  returned: always
  type: dict
  sample: {redis: [broker], valkey: []}
maintenance:
  description: SHA-256 of the password of the user for the host's own maintenance; empty if there is none yet.
  returned: always
  type: str
  sample: ""
digests:
  description: Instance to user to the SHA-256 of the user's passwords.
  returned: always
  type: dict
  sample: {broker: {chatlite: []}}
certificate:
  description: The certificate that the role issued, as PEM; empty if there is none.
  returned: always
  type: str
  sample: ""
"""
