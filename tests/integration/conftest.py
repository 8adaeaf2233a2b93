"""What the integration tests have in common. They run against any inventory: pytest --ansible-inventory=DIRECTORY."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.support.live import Inventory, Variables
from tests.support.load import Ledger, LedgerLoad
from tests.support.servers import Server
from tests.support.shell import Shell

ROOT = Path(__file__).resolve().parents[2]
Shell.register()
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@pytest.fixture(scope="session")
def inventory(request: pytest.FixtureRequest) -> Inventory:
    """The inventory that the tests run against."""
    return Inventory(os.path.abspath(request.config.getoption("--ansible-inventory")))


@pytest.fixture(scope="module")
def variables(host: Host, inventory: Inventory) -> Variables:
    """The variables of the host under test."""
    return inventory[host.backend.host]


@pytest.fixture(scope="module")
def app(variables: Variables) -> str:
    """The application's name."""
    return str(variables["app_name"])


@pytest.fixture
def hostname(host: Host) -> str:
    """What the host calls itself, as Celery's node names do."""
    return str(host.check_output("hostname"))


@pytest.fixture
def unit(app: str) -> Callable[[str], str]:
    """The systemd unit of a node."""
    return lambda node: f"{app}-worker@{node}.service"


@pytest.fixture
def show(host: Host) -> Callable[[str, str], str]:
    """A property of a unit."""
    return lambda unit, name: str(host.check_output("systemctl show --value --property=%s %s", name, unit))


@pytest.fixture
def app_run(host: Host, app: str) -> Callable[..., str]:
    """Run a command of the application's virtualenv in its environment; its standard output."""

    def run(*command: str) -> str:
        return str(host.check_output(shlex.join([f"{app}-run", *command])))

    return run


@pytest.fixture
def in_app(app_run: Callable[..., str]) -> Callable[[str], Any]:
    """Run Python in the application; what it leaves in ``result``."""

    def run(code: str) -> Any:
        script = f"import json\nfrom app.core.celery_config import app\n{code}\nprint(json.dumps(result))"
        return json.loads(app_run("python", "-c", script).splitlines()[-1])

    return run


@pytest.fixture
def redis_cli(host: Host, variables: Variables) -> Callable[..., str]:
    """Run redis-cli on the host's first instance as the user ``admin``; what the server answers."""
    return Server(host, variables, variables["redis_instances"][0]).cli


@pytest.fixture(scope="session")
def workers(inventory: Inventory) -> dict[str, Host]:
    """Inventory name -> worker host."""
    return {
        name: testinfra.get_host(f"ansible://{name}?ansible_inventory={inventory.path}")
        for name in inventory.group("workers")
    }


@pytest.fixture(scope="module")
def broker(host: Host, variables: Variables) -> Server:
    """The first instance of the host under test."""
    return Server(host, variables, variables["redis_instances"][0])


@pytest.fixture
def ledger(broker: Server, app: str) -> Ledger:
    """An empty ledger of tests/apps/ledger."""
    ledger = Ledger(broker, app)
    ledger.clear()
    return ledger


@pytest.fixture
def load(broker: Server, app: str) -> Callable[..., LedgerLoad]:
    """Tasks for tests/apps/ledger, at a rate."""
    return lambda **how: LedgerLoad(broker, app, patient=True, **how)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """Wait until a condition holds; what it returned then."""

    def wait(condition: Callable[[], Any], *, timeout: float = 30, what: str = "") -> Any:
        deadline = time.monotonic() + timeout
        while True:
            if result := condition():
                return result
            if time.monotonic() > deadline:
                pytest.fail(f"{what or condition} did not come about within {timeout} seconds")
            time.sleep(0.2)  # between two looks at the condition

    return wait


class Run:
    """A finished ansible-playbook: its output, and the recap's counters by host."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.returncode, self.output = done.returncode, done.stdout
        self.recap = {
            host: dict(zip(("ok", "changed", "unreachable", "failed"), map(int, counters), strict=True))
            for host, *counters in RECAP.findall(self.output)
        }

    @property
    def changed(self) -> dict[str, int]:
        return {host: counters["changed"] for host, counters in self.recap.items()}


@pytest.fixture(scope="session")
def playbook(inventory: Inventory) -> Callable[..., Run]:
    """Run ansible-playbook on the inventory under test."""

    def run(name: str, *arguments: str, **extra_variables: Any) -> Run:
        command = ["ansible-playbook", "-i", inventory.path, str(ROOT / name), *arguments]
        if extra_variables:
            command += ["--extra-vars", json.dumps(extra_variables)]
        environ = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        environ.pop("ANSIBLE_FORCE_COLOR", None)
        return Run(
            subprocess.run(
                command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
            )
        )

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Attach the journal of the units that roles have written or extended to the report of a failed test."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and report.when == "call" and host is not None:
        journal = host.run(
            "find /etc/systemd/system -mindepth 1 -maxdepth 1 -type f -o -type d -name '*.d' | "
            "sed 's|.*/|--unit=|; s|\\.d$||; s|@\\.|@*.|' | "
            "xargs -r journalctl --no-pager --output=short-iso --lines=60"
        )
        report.sections.append((f"journal of {host.backend.host}", journal.stdout))
    return report
