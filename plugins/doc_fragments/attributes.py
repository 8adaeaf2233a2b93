"""What each module says of check mode and diffs; it adds only how far it has them."""

from __future__ import annotations


class ModuleDocFragment:
    """Ansible's way to ask a file for its fragment."""

    DOCUMENTATION = """
options: {}
attributes:
  check_mode:
    description: Changes nothing, and says what it would change.
  diff_mode:
    description: Shows what changes, as before and after.
"""
