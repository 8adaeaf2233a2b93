#!/usr/bin/python
"""Write a set of small files in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_files
short_description: Write a set of small files, and remove those that left the set, in one call
description:
  - Writes each file atomically where its content, owner, group or mode differs, and makes the directories it is given.
  - Removes what matches I(absent) and is neither in I(files) nor below a directory of I(directories).
  - One call instead of a task for each file keeps a run without changes cheap. The action plugin of the same name
    renders the templates on the controller.
options:
  files:
    description: The files, in the order in which they are written.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. With I(each), C({name}) stands for an item's field.
        type: path
        required: true
      src: {description: "A template, which sees an item of I(each) as C(item). Ends with one line break.", type: path}
      content: {description: "The whole content, instead of I(src).", type: str}
      each: {description: Mappings for each of which there is such a file., type: list, elements: dict}
      owner: {description: Owner., type: str, default: root}
      group: {description: Group., type: str, default: root}
      mode: {description: "Mode, as a string of octal digits.", type: str, default: "0644"}
      validate:
        description: A command that exits 0 when the file at C(%s) is right. The file isn't replaced otherwise.
        type: str
      force: {description: "Whether to write a file that is there with other content.", type: bool, default: true}
      secret:
        description: Whether the content is shown nowhere. The diff says only that it changed.
        type: bool
        default: false
  directories:
    description: Directories that have to exist; parents that don't are made, mode 0755.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path. With I(each), C({name}) stands for an item's field.
        type: path
        required: true
      each: {description: Mappings for each of which there is such a directory., type: list, elements: dict}
      owner: {description: Owner., type: str, default: root}
      group: {description: Group., type: str, default: root}
      mode: {description: "Mode, as a string of octal digits.", type: str, default: "0755"}
  links:
    description: Symbolic links, pointed elsewhere by renaming a new one over the old one.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      target: {description: What it points to., type: str, required: true}
  absent:
    description: Glob patterns. A file or directory that matches one, and holds none of I(files), is removed.
    type: list
    elements: str
    default: []
  undo:
    description:
      - Directory of a journal in which files and links are saved before they are changed for the first time. The module
        C(celery_rollout) brings them back where what they are for doesn't come up, and ends the journal where it does.
    type: path
  secrets: {description: "Contents of secret files, by their index. Set by the action plugin.", type: dict, default: {}}
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Write the units
  celeriac.fleet.managed_files:
    files:
      - path: /etc/systemd/system/chatlite-worker@{name}.service.d/node.conf
        src: etc/systemd/system/worker@.service.d/node.conf.j2
        each: [{name: crawler}, {name: processor}]
    absent: ["/etc/systemd/system/chatlite-worker@*.service.d"]
"""

RETURN = r"""
paths:
  description: The paths that were written, made or removed.
  returned: always
  type: list
  elements: str
"""

import glob
import grp
import os
import pwd
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils import file_state
from ansible_collections.celeriac.fleet.plugins.module_utils.undo import Undo

PATH = {"type": "path", "required": True}
OWNED = {"owner": {"default": "root"}, "group": {"default": "root"}}
ARGUMENT_SPEC: dict[str, Any] = {
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": PATH,
            "content": {},
            "secret": {"type": "bool", "default": False},
            "mode": {"default": "0644"},
            "validate": {},
            "force": {"type": "bool", "default": True},
            **OWNED,
        },
    },
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": PATH, "mode": {"default": "0755"}, **OWNED},
    },
    "links": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": PATH, "target": {"required": True}},
    },
    "absent": {"type": "list", "elements": "str", "default": []},
    "undo": {"type": "path"},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
}
HIDDEN = "********"


def own(module: AnsibleModule, path: str, entry: dict[str, Any]) -> None:
    """Give the file or directory at ``path``, never what a link points to, the owner, group and mode of ``entry``."""
    owner = number(module, entry["owner"], pwd.getpwnam, "user")
    group = number(module, entry["group"], grp.getgrnam, "group")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchown(descriptor, owner, group)
            os.fchmod(descriptor, int(entry["mode"], 8))  # after chown, which takes away setuid
        finally:
            os.close(descriptor)
    except OSError as error:
        module.fail_json(msg=f"{path} can't be given its owner and mode: {error.strerror}.")


def number(module: AnsibleModule, name: str, find: Callable[[str], tuple[Any, ...]], kind: str) -> int:
    """The number of a user or group, which may be given by it."""
    if name.isdecimal():
        return int(name)
    try:
        return int(find(name)[2])
    except KeyError:
        module.fail_json(msg=f"There is no {kind} {name!r} on this host.")


def save(module: AnsibleModule, path: str) -> None:
    """Remember what ``path`` is before it is changed."""
    if module.params["undo"]:
        Undo(module.params["undo"]).save(path)


def write(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    """Bring one file about; the diff, or None if nothing changed."""
    path, found = entry["path"], file_state.observe(entry["path"])
    outdated = file_state.outdated(entry, found)
    if not outdated and not file_state.differs(entry, found):
        return None
    if found.kind not in (file_state.FILE, file_state.LINK, file_state.ABSENT):
        module.fail_json(msg=f"{path} was left as it is: it is no file.")
    before = file_state.read(path) if found.kind == file_state.FILE else ""
    if not module.check_mode:
        if outdated:
            replace(module, entry)
        own(module, path, entry)
    after = entry["content"] if outdated else before
    if entry["secret"]:
        before, after = (f"secret, {'another' if outdated else 'the same'}\n" if before else ""), "secret\n"
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def replace(module: AnsibleModule, entry: dict[str, Any]) -> None:
    """Write the file beside its place, have it checked, and move it there."""
    path = entry["path"]
    descriptor, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(entry["content"])
    if entry["validate"]:
        rc, out, err = module.run_command([part.replace("%s", temporary) for part in shlex.split(entry["validate"])])
        if rc != 0:
            said = hidden(err or out, entry["content"]) if entry["secret"] else err or out
            module.fail_json(msg=f"{path} was left as it is: {entry['validate']} says: {said.strip()}")
    own(module, temporary, entry)
    save(module, path)
    module.atomic_move(temporary, path)


def hidden(text: str, content: str) -> str:
    """``text`` without lines and words of ``content``, but for those of less than four characters."""
    parts = {*content.splitlines(), *re.findall(r"\S+", content), *re.findall(r"[^\s=:'\"]+", content)}
    parts |= set(re.findall(r"\w+", content))
    for part in sorted((part for part in parts if len(part) >= 4), key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return text


def with_secrets(module: AnsibleModule) -> list[dict[str, Any]]:
    """The files with their contents. Those of secret files are no longer in what the module returns as invocation."""
    secrets = module.params.pop("secrets")
    # none of them is returned, and as a mask a short one would make other files' diffs unreadable
    module.no_log_values -= set(secrets.values())
    return [
        {**each, "content": secrets.get(str(index), each["content"])}
        for index, each in enumerate(module.params["files"])
    ]


def link(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    """Point one link to its target; the diff, or None if it points there."""
    path, target, found = entry["path"], entry["target"], file_state.observe(entry["path"])
    if found.target == target:
        return None
    if found.kind not in (file_state.LINK, file_state.ABSENT):
        module.fail_json(msg=f"{path} was left as it is: it is no link.")
    if not module.check_mode:
        save(module, path)
        temporary = os.path.join(tempfile.mkdtemp(prefix=".link-", dir=os.path.dirname(path)), "link")
        os.symlink(target, temporary)
        os.replace(temporary, path)
        os.rmdir(os.path.dirname(temporary))
    before = f"{found.target}\n" * bool(found.target)
    return {"before_header": path, "after_header": path, "before": before, "after": f"{target}\n"}


def directory(module: AnsibleModule, entry: dict[str, Any]) -> bool:
    """Bring one directory about; True if anything changed."""
    path = entry["path"]
    found = file_state.observe(path, directory=True)
    missing = found.kind not in (file_state.DIRECTORY, file_state.LINKED)
    if not missing and not file_state.differs(entry, found):
        return False
    if missing and os.path.lexists(path):
        module.fail_json(msg=f"{path} was left as it is: it is no directory.")
    if not module.check_mode:
        if missing:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path, int(entry["mode"], 8))
        own(module, path, entry)
    return True


def remove(module: AnsibleModule, path: str) -> dict[str, str]:
    """Remove a file, link or directory; the diff."""
    if not module.check_mode and os.path.lexists(path):  # it may have gone with its directory
        save(module, path)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    return {"before_header": path, "after_header": path, "before": "present\n", "after": "absent\n"}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    files, directories = with_secrets(module), module.params["directories"]
    made = [entry["path"] for entry in directories if directory(module, entry)]
    diffs = [diff for entry in files if (diff := write(module, entry))]
    diffs += [diff for entry in module.params["links"] if (diff := link(module, entry))]
    found = dict.fromkeys(path for pattern in module.params["absent"] for path in sorted(glob.glob(pattern)))
    kept = [entry["path"] for entry in files + directories]
    diffs += [remove(module, path) for path in file_state.leftovers(found, kept)]
    paths = made + [diff["after_header"] for diff in diffs]
    module.exit_json(changed=bool(paths), paths=paths, diff=diffs)


if __name__ == "__main__":
    main()
