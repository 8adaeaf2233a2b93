"""bench/record.py: medians, ratios of pairs, and records as JSON."""

from __future__ import annotations

import json
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record import Record, Result, Trial, medians, paired_ratio


def trial(series: str, round_: int, seconds: float, **more: object) -> Trial:
    return Trial(series=series, round=round_, values={"seconds": seconds}, **more)  # type: ignore[arg-type] # as given


PAIRS = [
    trial(series, number, seconds)
    for number, pair in enumerate([(3.0, 2.0), (9.0, 3.0), (4.0, 4.0)], 1)
    for series, seconds in zip(("ours", "theirs"), pair, strict=True)
]


def record(**changed: object) -> Record:
    given = {
        "figure": "no-change",
        "title": "A run",
        "date": "2026-11-27T22:00:00+00:00",
        "commit": "0123456789ab",
        "machine": {"processors": 2, "load": 0.1},
        "settings": {"hosts": "containers"},
        "trials": PAIRS,
        "results": [Result("ours by theirs", 1.5, 1.0), Result("share", 0.2)],
    }
    return Record(**{**given, **changed})  # type: ignore[arg-type] # as given


def test_a_median_is_of_one_series_on_one_number_of_hosts() -> None:
    trials = [*PAIRS, trial("ours", 1, 50.0, hosts=5, split={"Preflight": 2.0})]
    assert medians(trials) == {
        ("ours", 1): {"seconds": 4.0},
        ("theirs", 1): {"seconds": 3.0},
        ("ours", 5): {"seconds": 50.0, "Preflight, s": 2.0},
    }


def test_a_ratio_is_of_what_was_measured_in_the_same_round() -> None:
    assert paired_ratio(PAIRS, "ours", "theirs") == 1.5  # of 1.5, 3 and 1; that of the medians would be 1.33


def test_a_round_that_has_only_one_of_both_says_nothing() -> None:
    assert paired_ratio([*PAIRS, trial("ours", 4, 1000.0)], "ours", "theirs") == 1.5


def test_without_a_round_of_both_there_is_no_ratio() -> None:
    with pytest.raises(ValueError, match="no round has both ours and raw"):
        paired_ratio(PAIRS, "ours", "raw")


@given(st.lists(st.floats(0.01, 1000), min_size=1), st.floats(0.01, 100))
def test_a_slowdown_of_the_whole_machine_is_in_no_ratio(seconds: list[float], factor: float) -> None:
    trials = [
        trial(series, number, value * times)
        for number, value in enumerate(seconds)
        for series, times in (("ours", factor), ("theirs", 1.0))
    ]
    assert paired_ratio(trials, "ours", "theirs") == pytest.approx(factor)


@pytest.mark.parametrize(("value", "aim", "met"), [(1.0, 1.0, True), (1.01, 1.0, False), (5.0, None, None)])
def test_an_aim_is_the_most_that_a_result_should_be(value: float, aim: float | None, met: bool | None) -> None:
    assert Result("x", value, aim).met is met


def test_a_record_has_every_measurement_and_comes_back_from_its_json() -> None:
    text = record().as_json()
    assert [each["values"]["seconds"] for each in json.loads(text)["trials"]] == [3.0, 2.0, 9.0, 3.0, 4.0, 4.0]
    assert Record.of_json(text) == record()


def test_the_json_says_medians_and_which_aims_are_met() -> None:
    read = json.loads(record().as_json())
    assert read["medians"][0] == {"series": "ours", "hosts": 1, "values": {"seconds": median([3.0, 9.0, 4.0])}}
    assert [result["met"] for result in read["results"]] == [False, None]
    assert (read["commit"], read["date"], read["machine"]["load"]) == ("0123456789ab", "2026-11-27T22:00:00+00:00", 0.1)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 0}'])
def test_a_file_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="measure the figure again"):
        Record.of_json(text)
