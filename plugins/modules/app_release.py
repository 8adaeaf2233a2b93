#!/usr/bin/python
"""Build a release of an application, with a virtualenv of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: Build a release of an application in a directory named after its content
description:
  - The action plugin of the same name computes the release's id from the files below I(path) on the controller, and
    sends them only where the host hasn't that release yet. An unchanged application costs one look at the host.
  - What git ignores there (caches, build output, C(.env) files) is no part of the release.
  - The release is unpacked, gets a virtualenv with the requirements, is compiled to bytecode, and then marked complete.
    One that was interrupted on the way is built anew by the next run.
  - Points the link I(current) to it, if one is given, by renaming a new link over the old one.
options:
  path:
    description: The application's directory on the controller; a relative one starts at the repository's root.
    type: path
    required: true
  releases: {description: Directory of the releases on the host., type: path, required: true}
  current: {description: Link that is pointed to the release., type: path}
  requirements:
    description: Requirements file, relative to I(path). Hashes are enforced if it has any.
    type: str
    default: requirements.txt
  python: {description: Interpreter that the virtualenv is made with., type: str, default: python3}
  release: {description: Set by the action plugin., type: str}
  archive: {description: Set by the action plugin., type: path}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: Celeriac
"""

EXAMPLES = r"""
- name: Build the release
  app_release:
    path: examples/chatlite
    releases: /opt/chatlite/releases
    current: /opt/chatlite/current
"""

RETURN = r"""
release: {description: The release's id., returned: always, type: str, sample: 3f1c0a9be27d}
directory: {description: Its directory., returned: always, type: path}
"""

import os
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule

COMPLETE = ".celeriac-complete"


def run(module: AnsibleModule, step: str, command: list[str], directory: str) -> None:
    """Run one step of the build; on failure leaves nothing behind and says what the command said last."""
    rc, out, err = module.run_command(command, cwd=directory, environ_update={"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    if rc != 0:
        shutil.rmtree(directory, ignore_errors=True)
        said = "\n".join((out + err).strip().splitlines()[-15:])
        module.fail_json(msg=f"The release wasn't built, the running one is untouched. {step} failed:\n{said}")


def build(module: AnsibleModule, directory: str) -> None:
    """Unpack, make the virtualenv, install, compile, mark complete."""
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory, 0o755)
    with tarfile.open(module.params["archive"]) as tar:
        tar.extractall(directory)  # noqa: S202 - packed by the action plugin a moment ago
    requirements = os.path.join(directory, module.params["requirements"])
    if not os.path.isfile(requirements):
        shutil.rmtree(directory)
        module.fail_json(
            msg=f"app_requirements is {module.params['requirements']!r}, which isn't in {module.params['path']}: "
            "name the lock file."
        )
    python = f"{directory}/.venv/bin/python"
    run(module, "Making the virtualenv", [module.params["python"], "-m", "venv", f"{directory}/.venv"], directory)
    run(
        module,
        "Installing the requirements",
        [python, "-m", "pip", "install", "--no-input", "--requirement", requirements],
        directory,
    )
    run(module, "Compiling", [python, "-m", "compileall", "-q", "-x", r"[/\\]\.venv[/\\]", directory], directory)
    with open(os.path.join(directory, COMPLETE), "w", encoding="utf-8"):
        pass


def switch(module: AnsibleModule, directory: str) -> str:
    """Point ``current`` to the release; where it pointed before, "" if nowhere."""
    link = module.params["current"]
    before = os.readlink(link) if os.path.islink(link) else ""
    if before != directory and not module.check_mode:
        temporary = f"{link}.new"
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(directory, temporary)
        os.replace(temporary, link)
    return before


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "releases": {"type": "path", "required": True},
            "current": {"type": "path"},
            "requirements": {"default": "requirements.txt"},
            "python": {"default": "python3"},
            "release": {"required": True},
            "archive": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    directory = os.path.join(params["releases"], params["release"])
    result = {"release": params["release"], "directory": directory}
    built = not os.path.exists(os.path.join(directory, COMPLETE))
    if built and not module.check_mode:
        os.umask(0o022)
        build(module, directory)
    before = switch(module, directory) if params["current"] else directory
    diff = {"before": f"{before}\n", "after": f"{directory}\n"}
    module.exit_json(changed=built or before != directory, diff=diff, **result)


if __name__ == "__main__":
    main()
