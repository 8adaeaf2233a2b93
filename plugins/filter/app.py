"""Filters of the app role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# click makes options of `celery worker` and `celery beat` out of these
OPTION = re.compile(r"CELERY_(WORKER|BEAT|EVENTS|MULTI)_")


def environment_file(environment: Mapping[str, Any]) -> str:
    """The text of a systemd ``EnvironmentFile=``, sorted by name.

    :param environment: name -> value; values become strings (``true`` and ``false`` in lower case)
    :raises AnsibleFilterError: on a name that is none, one that Celery would take for an option, or a control character;
        values are never part of the message
    """
    lines = []
    for name, value in sorted(environment.items()):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not NAME.match(name):
            raise AnsibleFilterError(f"app_environment has {name!r}: a name has letters, digits and _ only.")
        if OPTION.match(name):
            raise AnsibleFilterError(f"app_environment has {name!r}: celery would take it for an option; rename it.")
        if not all(c.isprintable() or c == "\t" for c in text):
            raise AnsibleFilterError(f"app_environment.{name} has a line break or control character: take it out.")
        escaped = re.sub(r'(["\\$`])', r"\\\1", text)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


class FilterModule:
    """Filters of the app role."""

    def filters(self) -> dict[str, Any]:
        return {"environment_file": environment_file}
