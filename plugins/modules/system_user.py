"""The documentation of the action plugin of the same name; there is no module."""

from __future__ import annotations

DOCUMENTATION = """
module: system_user
short_description: Make a system user without a shell, asking the host first
description:
  - Where the user is there as it has to be, this costs a tenth of M(ansible.builtin.user), which is run only if not.
  - The user has no password and no login shell.
options:
  name:
    description: Name of the user.
    type: str
    required: true
  home:
    description: Home directory. It isn't made.
    type: str
    required: true
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = """
- name: Make the application's user
  celeriac.fleet.system_user:
    name: chatlite
    home: /var/lib/chatlite
"""

RETURN = """
"""
