"""tools/rehearse.py: where the seconds of `make up` went."""

from __future__ import annotations

import pytest
import rehearse

from tests.support.harness import ROLES, ROOT, read_yaml

BEGAN = 1000.0


class Clock:
    """A clock that is put forward."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def split(clock: Clock) -> rehearse.Split:
    return rehearse.Split(BEGAN, clock)


def header(name: str) -> str:
    return f"TASK [{name}] ***".ljust(79, "*") + "\n"


def test_what_came_before_counts_from_when_make_began(split: rehearse.Split, clock: Clock) -> None:
    clock.now += 3
    split.enter(rehearse.HOSTS)
    assert split.seconds == {rehearse.BEFORE: 3.0}


def test_seconds_belong_to_the_task_whose_header_came_last(split: rehearse.Split, clock: Clock) -> None:
    split.enter(rehearse.REST)
    for line, seconds in (
        ("PLAY [Redis] ****", 1),
        (header("celeriac.fleet.redis : install | Install the server"), 9),
        ("changed: [dev1]\n", 1),
        ("\x1b[1m" + header("celeriac.fleet.redis : service | Run each instance").strip() + "\x1b[0m\n", 2),
        (header("celeriac.fleet.app : release | Build the release"), 4),
        ("PLAY RECAP ****", 5),
    ):
        split.read(line)
        clock.now += seconds
    split.enter(rehearse.REST)
    assert split.seconds == {rehearse.BEFORE: 0.0, "packages": 10.0, "Redis": 2.0, "release": 4.0, rehearse.REST: 6.0}


def test_the_line_has_all_parts_and_their_sum(split: rehearse.Split, clock: Clock) -> None:
    for part, seconds in ((rehearse.REST, 1), (rehearse.FIRST_TASK, 2.26), (rehearse.REST, 1)):
        split.enter(part)
        clock.now += seconds
    split.enter(rehearse.REST)
    assert split.line() == "seconds: virtualenv and images 0.0, first task 2.3, everything else 2.0; in all 4.3"


@pytest.mark.parametrize("role", ROLES)
def test_every_task_that_installs_packages_counts_as_packages(role: str, split: rehearse.Split) -> None:
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        for task in read_yaml(path):
            split.read(header(f"celeriac.fleet.{role} : {task['name']}"))
            assert (split.part == "packages") is ("celeriac.fleet.debian_packages" in task), task["name"]
