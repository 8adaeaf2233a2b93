"""Controller side of the managed_files module: renders the templates and expands ``each``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import generate_ansible_template_vars, trust_as_template

Entry = dict[str, Any]


def expand(entry: Mapping[str, Any]) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    """``entry`` once for each item of its ``each``, with the fields of the item put into ``path``, and the item.

    >>> [entry["path"] for entry, item in expand({"path": "/etc/{name}", "each": [{"name": "a"}, {"name": "b"}]})]
    ['/etc/a', '/etc/b']
    """
    plain = {key: value for key, value in entry.items() if key != "each"}
    if "each" not in entry:
        yield plain, {}
        return
    for item in entry["each"]:
        yield {**plain, "path": plain["path"].format_map(item)}, item


class ActionModule(ActionBase):
    """Turns each ``src`` into ``content``, then runs the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["files"] = [
            self._rendered(entry, item, task_vars or {})
            for unexpanded in arguments.get("files", [])
            for entry, item in expand(unexpanded)
        ]
        arguments["directories"] = [
            entry for unexpanded in arguments.get("directories", []) for entry, _ in expand(unexpanded)
        ]
        return dict(self._execute_module(module_name="managed_files", module_args=arguments, task_vars=task_vars))

    def _rendered(self, entry: Entry, item: Mapping[str, Any], task_vars: dict[str, Any]) -> Entry:
        if "src" not in entry:
            return entry
        source = self._find_needle("templates", entry["src"])
        with open(source, encoding="utf-8") as file:
            text = file.read()
        variables = {**task_vars, **generate_ansible_template_vars(entry["src"], source, entry["path"]), "item": item}
        root = source.removesuffix(entry["src"])
        templar = self._templar.copy_with_new_env(searchpath=[root], available_variables=variables)
        content = templar.template(trust_as_template(text), escape_backslashes=False)
        if not isinstance(content, str):
            raise AnsibleActionFail(f"{entry['src']} is no text but {type(content).__name__}.")
        return {**{key: value for key, value in entry.items() if key != "src"}, "content": content.rstrip("\n") + "\n"}
