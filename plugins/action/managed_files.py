"""Controller side of the managed_files module: renders the templates, expands ``each``, and looks before it sends.

Where one shell command finds every file and directory as it should be, the module, which costs five times as much,
isn't run.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import generate_ansible_template_vars, trust_as_template

Entry = dict[str, Any]


def expand(entry: Mapping[str, Any]) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    """``entry`` once for each item of its ``each``, with the fields of the item put into ``path``, and the item.

    A file without ``src`` and ``content`` has the item's ``content``.

    >>> [entry["path"] for entry, item in expand({"path": "/etc/{name}", "each": [{"name": "a"}, {"name": "b"}]})]
    ['/etc/a', '/etc/b']
    """
    plain = {key: value for key, value in entry.items() if key != "each"}
    if "each" not in entry:
        yield plain, {}
        return
    for item in entry["each"]:
        content = {"content": item["content"]} if "content" in item and not {"src", "content"} & plain.keys() else {}
        yield {**plain, **content, "path": plain["path"].format_map(item)}, item


PARTS = ("files", "directories", "absent", "links")
# What the module's argument_spec says too
DEFAULTS = {"owner": "root", "group": "root"}
FILE, DIRECTORY = "0644", "0755"


def look(arguments: Mapping[str, Any]) -> str:
    """A shell command that prints what ``as_it_should_be`` reads: attributes, checksums, globs and links."""
    files, directories, absent, links = (arguments.get(key) or [] for key in PARTS)
    paths = " ".join(shlex.quote(entry["path"]) for entry in [*directories, *files])
    contents = " ".join(shlex.quote(entry["path"]) for entry in files)
    globs = " ".join("*".join(shlex.quote(part) for part in pattern.split("*")) for pattern in absent)
    return (
        f"export LC_ALL=C; stat --format=%F:%a:%U:%G:%n -- {paths} 2>/dev/null; echo; "
        f"sha256sum -- {contents or '/dev/null'} 2>/dev/null; echo; "
        f"ls -d -- {globs or '/nowhere'} 2>/dev/null; echo ==; "
        + "".join(f"readlink -- {shlex.quote(entry['path'])} || echo; " for entry in links)
        + "true"
    )


def as_it_should_be(said: str, arguments: Mapping[str, Any]) -> bool:
    """Whether what ``look`` printed is what the entries ask for, with nothing left over."""
    files, directories, _, links = (arguments.get(key) or [] for key in PARTS)
    said, _, targets = said.replace("regular empty file:", "regular file:").rpartition("==\n")
    attributes, _, rest = said.partition("\n\n")
    checksums, _, globs = rest.partition("\n\n")
    wanted = [
        f"{kind}:{int(entry.get('mode', mode), 8):o}:{owned['owner']}:{owned['group']}:{entry['path']}"
        for kind, mode, entries in (("directory", DIRECTORY, directories), ("regular file", FILE, files))
        for entry in entries
        for owned in [{**DEFAULTS, **entry}]
    ]
    digests = [hashlib.sha256(entry["content"].encode()).hexdigest() for entry in files]
    found = [line.split(" ", 1)[0] for line in checksums.split("\n")]
    kept = [entry["path"] for entry in [*files, *directories]]
    return (
        attributes.split("\n") == wanted
        and all(
            digest == other or not entry.get("force", True)
            for entry, digest, other in zip(files, digests, found, strict=False)
        )
        and all(any(path == one or one.startswith(f"{path}/") for one in kept) for path in globs.split())
        and targets.splitlines() == [entry["target"] for entry in links]
    )


class ActionModule(ActionBase):
    """Turns each ``src`` into ``content``, then runs the module if the host isn't as it should be."""

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
        said = self._low_level_execute_command(look(arguments))["stdout"].replace("\r\n", "\n")
        if as_it_should_be(said, arguments):
            return {"changed": False, "paths": []}
        return dict(
            self._execute_module(module_name="celeriac.fleet.managed_files", module_args=arguments, task_vars=task_vars)
        )

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
