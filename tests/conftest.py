"""Ansible's loader of collections comes before the first test imports ours."""

from tests.support import harness as harness
