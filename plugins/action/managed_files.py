"""Controller side of the managed_files module: renders the templates, expands ``each``, and looks before it sends.

Where one shell command finds every file and directory as it should be, the module, which costs five times as much,
isn't run. The judgement is the module's own, by its functions.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.template import generate_ansible_template_vars, trust_as_template
from ansible_collections.celeriac.fleet.plugins.module_utils import file_state
from ansible_collections.celeriac.fleet.plugins.modules import managed_files as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst, sections

Entry = dict[str, Any]


def expand(entry: Mapping[str, Any]) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    """``entry`` once for each item of its ``each``, with the fields of the item put into ``path``, and the item.

    A file without ``src`` and ``content`` has the item's ``content``.

    >>> [entry["path"] for entry, item in expand({"path": "/etc/{name}", "each": [{"name": "a"}, {"name": "b"}]})]
    ['/etc/a', '/etc/b']
    """
    plain = {key: value for key, value in entry.items() if key != "each"}
    if entry.get("each") is None:
        yield plain, {}
        return
    for item in entry["each"]:
        own = plain.get("src") is not None or plain.get("content") is not None
        content = {"content": item["content"]} if "content" in item and not own else {}
        yield {**plain, **content, "path": plain["path"].format_map(item)}, item


PARTS = 4  # of what ``look`` prints
EACH = {"each": {"type": "list", "elements": "dict"}}


def with_options(option: str, **more: Any) -> dict[str, Any]:
    """An option of the module's, whose entries have ``more``."""
    spec = module.ARGUMENT_SPEC[option]
    return {**spec, "options": {**spec["options"], **more}}


ARGUMENT_SPEC = {
    **module.ARGUMENT_SPEC,
    "files": with_options("files", **EACH, src={"type": "str"}),
    "directories": with_options("directories", **EACH),
}


def globs(patterns: Iterable[str]) -> str:
    """``patterns`` for a shell, which finds at least what the module does."""
    return " ".join(
        "".join(part if part in "*?" else shlex.quote(part) for part in re.split(r"([*?])", re.sub(r"\[.*", "*", each)))
        for each in patterns
    )


def look(arguments: Mapping[str, Any]) -> str:
    """A shell command that prints four parts: what is at the paths, at those of directories, digests, globs."""
    files, directories, links = (
        shlex.join(entry["path"] for entry in arguments[key]) for key in ("files", "directories", "links")
    )
    find, attributes = "find -P {} -maxdepth 0 {} 2>/dev/null", "%m:%u:%U:%g:%G:%l\\t%p\\n"
    plain = f"-printf '%y:{attributes}'"
    linked = f"'(' -type l -xtype d -printf '{file_state.LINKED}:{attributes}' -o {plain} ')'"
    parts = [
        find.format(f"{files} {links}", plain) if files or links else "",
        find.format(directories, linked) if directories else "",
        f"sha256sum -- {files} 2>/dev/null" if files else "",
        f"ls -d -- {globs(arguments['absent'])} 2>/dev/null" if arguments["absent"] else "",
    ]
    return "export LC_ALL=C; " + "; echo ==; ".join(part or ":" for part in parts) + "; true"


STATE = re.compile(r"(.):([0-7]+):([^:]+):(\d+):([^:]+):(\d+):(.*)\t(/[^\t]*)")


def states(attributes: Iterable[str], digests: Iterable[str]) -> dict[str, file_state.State]:
    """Path -> what is there, by lines of find and of sha256sum that ``look`` printed. Odd paths are left out."""
    contents = {path: digest for digest, _, path in (line.partition("  ") for line in digests)}
    found: dict[str, file_state.State] = {}
    for match in filter(None, map(STATE.fullmatch, attributes)):
        kind, mode, owner, uid, group, gid, target, path = match.groups()
        owners = (owner, uid), (group, gid)
        found[path] = file_state.State(kind, int(mode, 8), *owners, contents.get(path, ""), target)
    return found


class ActionModule(LookFirst):
    """Turns each ``src`` into ``content``, then runs the module if the host isn't as it should be."""

    MODULE = "celeriac.fleet.managed_files"
    ARGUMENT_SPEC = ARGUMENT_SPEC

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        files = [self._rendered(entry, item, variables) for each in arguments["files"] for entry, item in expand(each)]
        directories = [entry for each in arguments["directories"] for entry, _ in expand(each)]
        return {**arguments, "files": files, "directories": directories}

    def look(self, arguments: dict[str, Any]) -> str:
        return look(arguments)

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        parts = sections(said)
        if len(parts) != PARTS:
            return None
        plain, directories, digests, matching = parts
        found = defaultdict(file_state.State, states(plain + directories, digests))
        return {"changed": False, "paths": []} if file_state.settled(arguments, found, matching) else None

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        files = arguments["files"]
        secrets = {str(index): entry["content"] for index, entry in enumerate(files) if entry["secret"]}
        shown = [{**entry, "content": None} if entry["secret"] else entry for entry in files]
        return super().send({**arguments, "files": shown, "secrets": secrets}, variables)

    def _rendered(self, entry: Entry, item: Mapping[str, Any], variables: dict[str, Any]) -> Entry:
        plain = {key: value for key, value in entry.items() if key != "src"}
        if entry["src"] is None:
            if entry["content"] is None:
                raise AnsibleActionFail(f"files: {entry['path']} has neither src nor content.")
            return plain
        source = self.needle("templates", entry["src"])
        with open(source, encoding="utf-8") as file:
            text = file.read()
        own = {**variables, **generate_ansible_template_vars(entry["src"], source, entry["path"]), "item": item}
        root = source.removesuffix(entry["src"])
        templar = self._templar.copy_with_new_env(searchpath=[root], available_variables=own)
        content = templar.template(trust_as_template(text), escape_backslashes=False)
        if not isinstance(content, str):
            raise AnsibleActionFail(f"{entry['src']} is no text but {type(content).__name__}.")
        return {**plain, "content": content.rstrip("\n") + "\n"}
