"""What Celery makes of a node's arguments: ``celery multi`` expands them, ``celery worker`` parses the result."""

from __future__ import annotations

from typing import Any
from unittest import mock

from celery import Celery
from celery.apps import multi as typed_multi
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

multi: Any = typed_multi  # celery-types describes an older one
APP = Celery(set_as_current=False)
CONTEXT = CLIContext(app=APP, no_color=True, workdir=None)


def node_of(arguments: list[str]) -> Any:
    """The one node that ``celery multi`` understands by the arguments after its verb."""
    options = multi.NamespacedOptionParser(arguments)
    options.parse()
    assert options.namespaces == {}
    # it makes the directories of PID and log files as it reads their options
    with mock.patch.object(multi.os, "makedirs"):
        (node,) = multi.MultiParser(cmd=None, append="", suffix="host").parse(options)
    return node


def started(node: Any) -> tuple[list[str], list[str]]:
    """What ``celery multi`` runs for a node: the options of ``celery``, and those of ``celery worker``."""
    _, _, _, *words = node.prepare_argv(node.argv, node.executable)  # python -m celery
    verb = words.index("worker")
    return words[:verb], words[verb + 1 :]


def accepted(options: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``celery worker`` understands by its options: its parameters, and settings of the application.

    :raises click.UsageError: if it doesn't accept them
    """
    context = worker.make_context("worker", list(options), obj=CONTEXT)
    return dict(context.params), APP.loader.cmdline_config_parser(context.args, namespace="worker")


def accepted_by_beat(options: list[str]) -> dict[str, Any]:
    """What ``celery beat`` understands by its options.

    :raises click.UsageError: if it doesn't accept them
    """
    return dict(beat.make_context("beat", list(options), obj=CONTEXT).params)
