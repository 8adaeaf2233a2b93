"""bench/machine.py: when the load forbids to measure, and what is said of a machine."""

from __future__ import annotations

import re

import pytest

from bench import machine


@pytest.mark.parametrize(
    ("load", "processors", "environ", "refused"),
    [
        (1.0, 2, {}, False),
        (1.01, 2, {}, True),
        (1.01, 4, {}, False),
        (9.0, 2, {"BENCH_ANY_LOAD": "1"}, False),
        (9.0, 2, {"BENCH_ANY_LOAD": "0"}, True),
        (9.0, 2, {"BENCH_ANY_LOAD": ""}, True),
    ],
)
def test_above_half_a_process_for_each_processor_nothing_is_measured_unless_told(
    load: float, processors: int, environ: dict[str, str], refused: bool
) -> None:
    assert bool(machine.load_problem(load, processors, environ)) is refused


def test_the_refusal_says_load_limit_and_the_way_out() -> None:
    assert machine.load_problem(1.5, 2, {}) == (
        "the load is 1.50 on 2 processors, above 0.5 for each: wait until the machine is idle, or set BENCH_ANY_LOAD=1 "
        "to measure nevertheless."
    )


def test_a_machine_is_busy_with_all_but_idling_and_waiting_for_disks() -> None:
    stat = "cpu  100 20 30 99999 88888 4 6 7 0 0\ncpu0 50 10 15 4 5 2 3 0 0 0\n"
    assert machine.busy_seconds(stat, ticks=100) == 1.6


def test_the_machine_is_busier_by_what_we_compute() -> None:
    before = machine.busy()
    sum(number * number for number in range(3_000_000))
    assert machine.busy() > before


def test_a_description_names_processor_memory_load_and_versions() -> None:
    said = machine.described()
    assert said["processor"]
    assert said["processors"] >= 1
    assert said["memory_mib"] > 100
    assert said["load"] >= 0
    assert re.match(r"2\.\d+", said["versions"]["ansible-core"])


def test_the_commit_is_the_one_that_is_checked_out() -> None:
    head = machine.said("git", "rev-parse", "HEAD")
    assert head.startswith(machine.commit().removesuffix("-dirty"))


def test_a_program_that_is_not_there_says_nothing() -> None:
    assert machine.said("/nowhere/program") == ""
