"""What the modules that build a virtualenv have in common; module_utils/virtualenv.py has the same as a spec."""

from __future__ import annotations


class ModuleDocFragment:
    """Ansible's way to ask a file for its fragment."""

    DOCUMENTATION = """
options:
  python: {description: Interpreter that the virtualenv is made with., type: str, default: python3}
  installer:
    description: V(uv), brought onto the host and pinned by hashes, or V(pip). Either needs Debian's C(python3-venv).
    type: str
    choices: [uv, pip]
    default: uv
  index:
    description: "C(index_url), C(extra_index_urls), C(ca) (PEM text), C(proxy) and C(environment); secret."
    type: dict
    default: {}
  uv_version: {description: Set by the action plugin., type: str}
  uv_lock: {description: Set by the action plugin., type: str}
"""
