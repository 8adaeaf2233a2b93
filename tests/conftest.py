"""Ansible's loader of collections comes before the first test imports ours."""

from tests.support import harness as harness
from tests.support.marks import pytest_runtest_protocol as pytest_runtest_protocol
