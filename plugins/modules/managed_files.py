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
import os
import shlex
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.undo import Undo


def read(path: str) -> str | None:
    """The file's text, or None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


def attributes(module: AnsibleModule, entry: dict[str, Any], changed: bool) -> bool:
    """Set owner, group and mode of ``entry``'s path; True if that, or ``changed`` before it, changed anything."""
    wanted = {key: entry[key] for key in ("path", "owner", "group", "mode")}
    return bool(module.set_fs_attributes_if_different(module.load_file_common_arguments(wanted), changed))


def known(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, Any]:
    """``entry``, in check mode without an owner or group that a task before it would have made."""
    import grp
    import pwd

    result = dict(entry)
    if module.check_mode:
        for key, find in (("owner", pwd.getpwnam), ("group", grp.getgrnam)):
            try:
                find(entry[key])
            except KeyError:
                result[key] = None
    return result


def save(module: AnsibleModule, path: str) -> None:
    """Remember what ``path`` is before it is changed."""
    if module.params["undo"] and not module.check_mode:
        Undo(module.params["undo"]).save(path)


def write(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    """Bring one file about; the diff, or None if nothing changed."""
    path, before = entry["path"], read(entry["path"])
    changed = before != entry["content"] and (before is None or entry["force"])
    if changed and not module.check_mode:
        descriptor, temporary = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(entry["content"])
        if entry["validate"]:
            rc, out, err = module.run_command(
                [part.replace("%s", temporary) for part in shlex.split(entry["validate"])]
            )
            if rc != 0:
                module.fail_json(msg=f"{path} was left as it is: {entry['validate']} says: {(err or out).strip()}")
        module.set_fs_attributes_if_different(
            module.load_file_common_arguments({**entry, "path": temporary}), changed=False
        )
        save(module, path)
        module.atomic_move(temporary, path)
    if os.path.exists(path):
        changed = attributes(module, known(module, entry), changed)
    if not changed:
        return None
    return {"before_header": path, "after_header": path, "before": before or "", "after": entry["content"]}


def link(module: AnsibleModule, entry: dict[str, Any]) -> dict[str, str] | None:
    """Point one link to its target; the diff, or None if it points there."""
    path, target = entry["path"], entry["target"]
    before = os.readlink(path) if os.path.islink(path) else ""
    if before == target:
        return None
    if os.path.lexists(path) and not os.path.islink(path):
        module.fail_json(msg=f"{path} was left as it is: it is no link.")
    if not module.check_mode:
        save(module, path)
        temporary = os.path.join(tempfile.mkdtemp(prefix=".link-", dir=os.path.dirname(path)), "link")
        os.symlink(target, temporary)
        os.replace(temporary, path)
        os.rmdir(os.path.dirname(temporary))
    return {"before_header": path, "after_header": path, "before": f"{before}\n" * bool(before), "after": f"{target}\n"}


def directory(module: AnsibleModule, entry: dict[str, Any]) -> bool:
    """Bring one directory about; True if anything changed."""
    missing = not os.path.isdir(entry["path"])
    if missing and not module.check_mode:
        os.makedirs(os.path.dirname(entry["path"]), exist_ok=True)
        os.mkdir(entry["path"], int(entry["mode"], 8))
    if missing and module.check_mode:
        return True
    return attributes(module, known(module, entry), missing)


def leftovers(patterns: list[str], kept: list[str]) -> list[str]:
    """Paths that match a pattern and hold none of ``kept``."""
    return [
        path
        for pattern in patterns
        for path in sorted(glob.glob(pattern))
        if not any(wanted == path or wanted.startswith(path + os.sep) for wanted in kept)
    ]


def main() -> None:
    common = {"owner": {"default": "root"}, "group": {"default": "root"}}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": path,
                    "content": {"required": True},
                    "mode": {"default": "0644"},
                    "validate": {},
                    "force": {"type": "bool", "default": True},
                    **common,
                },
            },
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": path, "mode": {"default": "0755"}, **common},
            },
            "links": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": path, "target": {"required": True}},
            },
            "absent": {"type": "list", "elements": "str", "default": []},
            "undo": {"type": "path"},
        },
        supports_check_mode=True,
    )
    files, directories = module.params["files"], module.params["directories"]
    touched = [entry["path"] for entry in directories if directory(module, entry)]
    diffs = [diff for entry in files if (diff := write(module, entry))]
    diffs += [diff for entry in module.params["links"] if (diff := link(module, entry))]
    touched += [diff["after_header"] for diff in diffs]
    for path_ in leftovers(module.params["absent"], [entry["path"] for entry in files + directories]):
        touched.append(path_)
        diffs.append({"before_header": path_, "after_header": path_, "before": "present\n", "after": "absent\n"})
        if not module.check_mode:
            save(module, path_)
            shutil.rmtree(path_) if os.path.isdir(path_) and not os.path.islink(path_) else os.unlink(path_)
    module.exit_json(changed=bool(touched), paths=touched, diff=diffs)


if __name__ == "__main__":
    main()
