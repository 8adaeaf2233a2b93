"""What the integration tests have in common. They run against any inventory: pytest --ansible-inventory=DIRECTORY."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Fleet, Worker
from tests.support.live import Variables
from tests.support.load import Ledger
from tests.support.servers import Server
from tests.support.shell import Shell
from tests.support.site import Site
from tests.support.soak import Soak
from tests.support.soak import pytest_addoption as pytest_addoption
from tests.support.soak import pytest_collection_modifyitems as pytest_collection_modifyitems
from tests.support.soak import soak as soak

Shell.register()


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Site:
    """The site that the tests run against."""
    return Site.of(request.config)


@pytest.fixture(scope="session")
def fleet(site: Site) -> Fleet:
    """All worker hosts."""
    return Fleet(site)


@pytest.fixture(scope="session")
def broker(site: Site) -> Server:
    """The broker, on its own host."""
    return site.broker


@pytest.fixture(scope="module")
def variables(host: Host, site: Site) -> Variables:
    """The variables of the host under test."""
    return site[host.backend.host]


@pytest.fixture(scope="module")
def app(variables: Variables) -> str:
    """The application's name."""
    return str(variables["app_name"])


@pytest.fixture(scope="module")
def worker(host: Host, fleet: Fleet) -> Worker:
    """The host under test as a worker host."""
    return fleet[host.backend.host]


@pytest.fixture(scope="module")
def chatlite(worker: Worker, broker: Server) -> Chatlite:
    """The reference application on the host under test."""
    return Chatlite(worker, broker)


@pytest.fixture(scope="module")
def book(broker: Server, app: str, soak: Soak) -> Ledger:
    """The ledger of tests/apps/ledger. Its loads meet a fault with as many tasks at either rate."""
    return Ledger(broker, app, rate=soak.size(10, 70))


@pytest.fixture
def ledger(book: Ledger) -> Ledger:
    """The ledger, empty."""
    book.clear()
    return book


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
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
