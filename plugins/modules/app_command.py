#!/usr/bin/python
"""Run the command that a deployment needs once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_command
short_description: Run a command of a release once, before the release goes live
description:
  - Runs I(command) in the release, as the application's user, with the release's virtualenv first in C(PATH)
    and the environment that the release will have.
  - One that succeeded isn't run again for the same release; one that failed or was interrupted is. So it has to be one
    that can be run twice, as migrations can.
  - The running release goes on meanwhile, and has to get along with what the command does.
options:
  command: {description: Program and arguments. No shell., type: list, elements: str, required: true}
  directory: {description: "The release, with its virtualenv in C(.venv).", type: path, required: true}
  environment_file: {description: "The C(EnvironmentFile=) that the release will have.", type: path, required: true}
  user: {description: The user to run it as., type: str, required: true}
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Migrate the database
  celeriac.fleet.app_command:
    command: [python, manage.py, migrate, --noinput]
    directory: /opt/shop/releases/3f1c0a9be27d
    environment_file: /etc/shop/next.env
    user: shop
"""

RETURN = r"""
output: {description: The last lines that the command printed., returned: when it ran, type: str}
"""

import hashlib
import json
import os
import pwd
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import read_environment

DONE = ".celeriac-command"
TAIL = 15  # lines


def run(command: list[str], directory: str, environment_file: str, user: str) -> tuple[int, str]:
    """Exit code and last lines of the command."""
    account = pwd.getpwnam(user)
    path = f"{directory}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    environment = {
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **read_environment(environment_file),
        "PATH": path,
    }
    try:
        done = subprocess.run(
            ["/usr/bin/env", *command],
            cwd=directory,
            env=environment,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            umask=0o027,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return 127, str(error)
    return done.returncode, "\n".join(done.stdout.strip().splitlines()[-TAIL:])


def main() -> None:
    path, string = {"type": "path", "required": True}, {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "list", "elements": "str", "required": True},
            "directory": path,
            "environment_file": path,
            "user": string,
        },
        supports_check_mode=True,
    )
    params = module.params
    stamp = os.path.join(params["directory"], DONE)
    digest = hashlib.sha256(json.dumps(params["command"]).encode()).hexdigest()
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read().strip() == digest:
                module.exit_json(changed=False)
    if module.check_mode:
        module.exit_json(changed=True)
    rc, output = run(params["command"], params["directory"], params["environment_file"], params["user"])
    if rc != 0:
        module.fail_json(
            msg=f"Release {os.path.basename(params['directory'])} isn't used, the running one is untouched: "
            f"app_deploy_command ({' '.join(params['command'])}) ended with {rc}:\n{output}",
            output=output,
        )
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(f"{digest}\n")
    module.exit_json(changed=True, output=output)


if __name__ == "__main__":
    main()
