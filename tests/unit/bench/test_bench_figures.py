"""The figures' results: what trials come to."""

from __future__ import annotations

import pytest

from bench.figures import FIGURES
from bench.record import Result, Trial


def trials(*given: tuple[str, int, dict[str, float], dict[str, float]]) -> list[Trial]:
    """One trial each of a series, on a number of hosts, with values and a split."""
    return [Trial(series, 1, values, hosts=hosts, split=split) for series, hosts, values, split in given]


def of(figure: str, *given: tuple[str, int, dict[str, float], dict[str, float]]) -> dict[str, Result]:
    return {result.name: result for result in FIGURES[figure].results(trials(*given))}


def test_growth_is_twenty_hosts_by_one_with_the_share_of_all_plays_of_the_preflight() -> None:
    split = {"Preflight": 3.0, "Preflight, looks": 1.0, "Redis": 20.0}
    real = [("site.yml", 1, {"seconds": 8.0}, {"Preflight": 1.0}), ("site.yml", 20, {"seconds": 40.0}, split)]
    simulated = [("preflight, simulated", hosts, {"seconds": 2 + 0.1 * hosts}, {}) for hosts in (20, 200, 1000)]
    found = of("growth", *real, *simulated)
    assert (found["20 hosts by one"].value, found["20 hosts by one"].aim) == (5.0, 6.0)
    assert found["the preflight's share of 20 hosts' run"].value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seconds", "linear"),
    [((4.0, 22.0, 102.0), True), ((2.4, 42.0, 1002.0), False), ((4.0, 22.0, 60.0), True)],
)
def test_a_preflight_that_costs_a_host_among_many_more_than_among_few_is_not_linear(
    seconds: tuple[float, float, float], linear: bool
) -> None:
    real = [("site.yml", hosts, {"seconds": 8.0}, {}) for hosts in (1, 20)]
    simulated = [
        ("preflight, simulated", hosts, {"seconds": its}, {})
        for hosts, its in zip((20, 200, 1000), seconds, strict=True)
    ]
    *_, cost = of("growth", *real, *simulated).values()
    assert cost.met is linear


def test_a_bare_worker_is_what_rate_and_round_trips_are_compared_with() -> None:
    values = {"tasks per second": 1000.0, "round trip p50 ms": 2.0, "round trip p95 ms": 4.0}
    slower = {"tasks per second": 900.0, "round trip p50 ms": 3.0, "round trip p95 ms": 5.0}
    given = [("bare celery worker", values), ("Celeriac", slower), ("Celeriac, TLS", slower)]
    found = of("bare-celery", *((series, 1, its, {}) for series, its in given))
    assert found["tasks per second: Celeriac by bare celery worker"].value == pytest.approx(0.9)
    assert found["round trip p50 ms: Celeriac, TLS by bare celery worker"].value == pytest.approx(1.5)


def test_a_change_is_live_when_the_last_node_answers() -> None:
    answers = {"the last node answers, s": 12.0, "the first node answers, s": 8.0}
    found = of("one-line-change", *((series, 1, answers, {}) for series in ("queues of their own", "the same queues")))
    assert [(result.value, result.met, result.unit) for result in found.values()] == [(12.0, False, "s")] * 2
