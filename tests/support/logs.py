"""What the nodes of a host and its beat write, to files or to the journal, as text or JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from testinfra.host import Host

from tests.support.fleet import Worker

ECHO = re.compile(r"Task app\.tasks\.misc\.echo\[([0-9a-f-]+)\] (received|succeeded)")
TEXT = re.compile(rf"\[\S+ \S+: INFO/[\w-]+\] {ECHO.pattern}")


class Logs:
    """How the units of a worker host write, and what they wrote.

    :param to: files or journal
    :param form: text or json
    """

    def __init__(self, worker: Worker, to: str, form: str) -> None:
        self.host: Host = worker.host
        self.app, self.to, self.form = worker.app, to, form
        self.begin()

    def begin(self) -> None:
        """Forget what was written before, in another form perhaps."""
        self._begun = int(self.host.check_output("date +%s"))
        # what is written to is emptied, or it would be missing until the next line
        empty = "-name '*.log' -exec truncate --size=0 {} +"
        self.host.check_output(f"find /var/log/%s -type f '(' {empty} -o -delete ')'", self.app)

    def lines(self, unit: str = "worker@crawler") -> list[str]:
        """Every line of a unit since ``begin``, in files that were rotated, too."""
        if self.to == "journal":
            # what the unit wrote, not what systemd says of it
            ours = f"_SYSTEMD_UNIT={self.app}-{unit}.service _TRANSPORT=stdout --since=@{self._begun}"
            return str(self.host.check_output(f"journalctl --quiet --output=cat --no-pager {ours}")).splitlines()
        logs = f"/var/log/{self.app}/{unit.removeprefix('worker@')}*.log*"
        said = self.host.check_output(f"for log in {logs}; do zcat -f $log || exit; printf '\\0'; done")
        # a line that crosses a page of its file may be read while its end isn't written
        return [line for file in str(said).split("\0") for line in file.split("\n")[:-1]]

    def entries(self, unit: str = "worker@crawler") -> list[dict[str, Any]]:
        """The lines of a unit that writes JSON."""
        return [json.loads(line) for line in self.lines(unit)]

    def echoes(self) -> Counter[tuple[str, str]]:
        """Task id and what became of it -> how many lines of the crawler say so."""
        if self.form == "text":
            return Counter(found for line in self.lines() for found in TEXT.findall(line))
        entries = [(entry, ECHO.match(entry["message"])) for entry in self.entries()]
        return Counter((entry["task_id"], said[2]) for entry, said in entries if said and entry["task_id"] == said[1])
