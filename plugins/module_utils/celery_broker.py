"""The broker of an application, as code that a ``Probe`` runs in it: what status, drain and purge have in common."""

from __future__ import annotations

# Keys come with the application's prefix. The client has none, since kombu's own prefixes one key of a script only.
CODE = r"""
import time
import redis
from celery.app.utils import find_app

def begin(app):
    "Load the application and reach its broker, without the patience that its own settings may have."
    global application, channel, client
    application = find_app(app)
    connection = application.connection_for_write()
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    channel = connection.default_channel
    client = redis.Redis(connection_pool=channel.pool)

def key(name):
    return channel.global_keyprefix + name

def lists(queue):
    "Priority -> the key of the queue's messages of that priority, in the order in which workers look at them."
    return {step: key(channel._q_for_pri(queue, step)) for step in channel.priority_steps}

def consumers(nodes=None):
    "Node -> the queues that it consumes; only those that answer. All nodes there are: takes the whole timeout."
    limit = len(nodes) if nodes else None
    replies = application.control.inspect(destination=nodes, limit=limit, timeout=1.5).active_queues() or {}
    return {node: sorted(queue["name"] for queue in queues) for node, queues in replies.items()}
"""
