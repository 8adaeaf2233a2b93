"""The figures, by their names."""

from __future__ import annotations

from bench.bare_celery import BareCelery
from bench.figure import Figure
from bench.first_run import FirstRun
from bench.growth import Growth
from bench.no_change import NoChange
from bench.one_line_change import OneLineChange

FIGURES: dict[str, Figure] = {
    figure.name: figure for figure in (FirstRun(), NoChange(), Growth(), OneLineChange(), BareCelery())
}
