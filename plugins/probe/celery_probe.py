"""What the celery_* modules ask an application: it runs in the application's virtualenv, as its user.

The action plugins send this file and the Lua scripts beside it; ``Probe`` of module_utils/celery_app.py starts it. So
it imports nothing but Python's own modules, Celery and what Celery requires. Each public method of ``Questions`` is a
question, and takes and returns what JSON can say.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

import celery
import kombu
from celery.app.utils import find_app
from celery.utils.imports import load_extension_class_names, symbol_by_name

if TYPE_CHECKING:
    import redis
    from kombu.transport.redis import Channel

LIBRARIES = {"gevent": "gevent"}  # pool -> what it imports
LOOKED = 500  # unacknowledged messages whose queue is looked for
PAUSE = 0.1  # seconds


class Questions:
    """The answers of one application, from ``load`` on; those about its queues from ``connect`` on.

    Keys come with the application's prefix. The client has none, since kombu's own prefixes one key of a script only.

    :param scripts: file name -> text of the Lua scripts
    """

    application: celery.Celery
    channel: Channel
    client: redis.Redis

    def __init__(self, scripts: Mapping[str, str]) -> None:
        self.scripts = scripts

    # -- the application

    def load(self, app: str) -> None:
        """Find the application; ``app`` is what ``celery -A`` takes."""
        self.application = find_app(app)

    def connect(self) -> None:
        """Reach the broker, without the patience that the application's own settings may have."""
        import redis

        connection = self.application.connection_for_write()
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        self.channel = cast("Channel", connection.default_channel)
        self.client = redis.Redis(connection_pool=self.channel.pool)

    def outdated(self, floor: Sequence[int]) -> dict[str, str]:
        """Which of Celery and kombu is older than ``floor`` (major, minor), and its version."""
        return {
            module.__name__: module.__version__
            for module in (celery, kombu)
            if tuple(module.VERSION[:2]) < tuple(floor)
        }

    def routed(self) -> list[str]:
        """The queues that the application routes tasks to, as far as its settings say it."""
        conf = self.application.conf
        found, routes = {conf.task_default_queue}, conf.task_routes or {}
        for table in routes if isinstance(routes, (list, tuple)) else [routes]:
            if isinstance(table, dict):
                to = [route.get("queue") if isinstance(route, dict) else route for route in table.values()]
                found |= {queue for queue in to if queue}
        return sorted(str(getattr(queue, "name", queue)) for queue in found)

    def check(self, pools: Sequence[str], scheduler: str | None) -> dict[str, Any]:
        """Import what nodes and beat import, and look at the result.

        :returns: ``problems`` (ends of a sentence), ``tasks``, ``unknown`` (tasks that only the schedule has),
            ``routed`` (queues) and ``settings``
        """
        application, conf = self.application, self.application.conf
        application.loader.import_default_modules()
        application.finalize()
        tasks = sorted(name for name in application.tasks if not name.startswith("celery."))
        schedule = conf.beat_schedule or {}
        scheduled = {entry["task"] for entry in schedule.values() if isinstance(entry, dict)}
        retried = tasks if conf.task_retry_on_worker_lost else []
        return {
            "problems": [*pool_problems(pools), *scheduler_problems(scheduler)],
            "tasks": tasks,
            "unknown": sorted(task for task in scheduled if task not in application.tasks),
            "routed": self.routed(),
            "settings": {
                "task_acks_late": bool(conf.task_acks_late),
                "task_reject_on_worker_lost": bool(conf.task_reject_on_worker_lost),
                "retry_delays": {name: application.tasks[name].default_retry_delay for name in retried},
                "visibility_timeout": (conf.broker_transport_options or {}).get("visibility_timeout", 3600),
            },
        }

    # -- its nodes

    def ready(self, nodes: Mapping[str, Sequence[str] | None], timeout: float) -> dict[str, Any]:
        """Wait until all ``nodes`` answer ping and consume these queues (None: any); ``ready``, and ``seen``.

        :returns: in ``seen`` node -> the queues that it consumes, None where it doesn't answer
        """
        deadline = time.monotonic() + timeout
        while True:
            inspect = self.application.control.inspect(destination=list(nodes), limit=len(nodes), timeout=0.5)
            seen = dict.fromkeys(nodes) | names_of(inspect.active_queues())
            ready = all(seen[n] if q is None else seen[n] == sorted(q) for n, q in nodes.items())
            ready = ready and set(nodes) <= set(inspect.ping() or {})
            if ready or time.monotonic() > deadline:
                return {"ready": ready, "seen": seen}
            time.sleep(PAUSE)  # between two looks at the nodes

    def consumers(self, nodes: Sequence[str] | None = None) -> dict[str, list[str]]:
        """Node -> the queues that it consumes; only those that answer. All nodes there are: takes the whole timeout."""
        limit = len(nodes) if nodes else None
        return names_of(self.application.control.inspect(nodes, timeout=1.5, limit=limit).active_queues())

    def consume(self, nodes: Mapping[str, Sequence[str]], add: bool, timeout: float) -> dict[str, list[str]]:
        """Let nodes consume their queues, or no longer; node -> the queues that it confirmed.

        :param timeout: seconds that each queue of a node that doesn't answer takes
        """
        control = self.application.control
        verb = control.add_consumer if add else control.cancel_consumer
        done: dict[str, list[str]] = {}
        for node, queues in nodes.items():
            for queue in queues:
                replies = verb(queue, destination=[node], reply=True, limit=1, timeout=timeout)
                if any("ok" in (reply.get(node) or {}) for reply in replies or []):
                    done.setdefault(node, []).append(queue)
        return done

    def work(self, nodes: Sequence[str], timeout: float) -> dict[str, list[str] | None]:
        """Node -> the tasks that it runs or has fetched: what, where, for how long. None where it doesn't answer.

        :param timeout: seconds for each of two looks
        """
        inspect = self.application.control.inspect(destination=nodes, limit=len(nodes), timeout=timeout)
        # in this order: a task that begins between the two looks is seen by the second
        reserved, active = inspect.reserved() or {}, inspect.active() or {}
        found: dict[str, list[str] | None] = {}
        for node in nodes:
            tasks = {task["id"]: task for task in [*(reserved.get(node) or []), *(active.get(node) or [])]}
            answered = node in reserved and node in active
            found[node] = [sentence(task, node) for task in tasks.values()] if tasks or answered else None
        return found

    def drain(self, nodes: Mapping[str, float], timeout: float) -> dict[str, list[str] | None]:
        """Wait for nodes that no longer consume, each until it runs nothing, doesn't answer or has had its seconds.

        :param nodes: node -> its seconds
        :param timeout: of ``work``
        :returns: what ``work`` said last of each
        """
        begun, found, busy = time.monotonic(), dict[str, list[str] | None](), sorted(nodes)
        while busy:
            found |= self.work(busy, timeout)
            past = time.monotonic() - begun
            busy = [node for node in busy if found[node] and past < nodes[node]]
            if busy:
                time.sleep(PAUSE)  # between two looks at the nodes
        return found

    def status(self, nodes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Node -> what it does; only those that answer."""

        def ask(what: str, who: Sequence[str]) -> dict[str, Any]:
            inspect = self.application.control.inspect(destination=who, limit=len(who), timeout=1.5)
            return getattr(inspect, what)() or {}

        there = sorted(ask("ping", nodes)) if nodes else []
        if not there:
            return {}
        # a task goes from scheduled to reserved to active: asked in this order it isn't missed
        stats, scheduled, reserved, active = (ask(what, there) for what in ("stats", "scheduled", "reserved", "active"))
        queues, now = self.consumers(there), time.time()
        return {
            name: {
                "done": sum((stats.get(name) or {}).get("total", {}).values()),
                "active": len(active.get(name) or []),
                "longest": max((now - (task["time_start"] or now) for task in active.get(name) or []), default=None),
                "reserved": len(reserved.get(name) or []),
                "scheduled": len(scheduled.get(name) or []),
                "queues": queues.get(name, []),
            }
            for name in there
        }

    # -- its queues

    def key(self, name: str) -> str:
        """A key as the application has it."""
        return self.channel.global_keyprefix + name

    def lists(self, queue: str) -> dict[int, str]:
        """Priority -> the key of the queue's messages of that priority, in the order in which workers look at them."""
        of = cast("Any", self.channel)._q_for_pri
        return {step: self.key(of(queue, step)) for step in self.channel.priority_steps}

    def queues(self, names: Iterable[str]) -> dict[str, Any]:
        """The depth of these queues and of those that the application declares, and what is delivered of each."""
        declared = self.application.amqp.queues
        names = sorted({*names, *declared})
        routed = {queue.routing_key: name for name, queue in declared.items() if queue.routing_key}
        # a key of another type is no queue
        lengths = iter(0 if isinstance(n, Exception) else n for n in self.lengths(names))
        steps = len(self.channel.priority_steps)
        found = {name: {"depth": sum(next(lengths) for _ in range(steps)), **UNDELIVERED} for name in names}
        for since, message in self.delivered():
            _, _, routing_key = json.loads(message)
            queue = found.setdefault(routed.get(routing_key, routing_key), {"depth": 0, **UNDELIVERED})
            queue["unacked"] += 1
            queue["oldest"] = max(queue["oldest"] or 0, time.time() - since)
        return {"queues": found, "unacked": self.client.hlen(self.key(self.channel.unacked_key))}

    def lengths(self, names: Iterable[str]) -> list[Any]:
        """The lengths of the lists of these queues, each an exception where the key isn't a list."""
        with self.client.pipeline(transaction=False) as pipe:
            for name in names:
                for each in self.lists(name).values():
                    pipe.llen(each)
            return pipe.execute(raise_on_error=False)

    def delivered(self) -> list[tuple[float, bytes]]:
        """The unacknowledged messages as kombu has them, the oldest first, each after its time of delivery (epoch)."""
        index, messages = self.key(self.channel.unacked_index_key), self.key(self.channel.unacked_key)
        tags: Any = self.client.zrange(index, 0, LOOKED - 1, withscores=True)
        with self.client.pipeline(transaction=False) as pipe:
            for tag, _ in tags:
                pipe.hget(messages, tag)
            found = pipe.execute()
        # without those that were acknowledged meanwhile
        return [(since, message) for (_, since), message in zip(tags, found, strict=True) if message]

    # -- a queue that is purged or restored; messages are bytes: as text with surrogate escapes they pass JSON

    def run(self, script: str, keys: Iterable[str], *arguments: str | bytes | int) -> Any:
        """What the Lua script in the file ``script`` returns."""
        return self.client.register_script(self.scripts[script])(keys=list(keys), args=list(arguments))

    def mark_of(self, queue: str) -> str:
        """The key that says who purges the queue."""
        return self.key(f"{queue}.purging.by")

    def aside(self, queue: str) -> dict[int, str]:
        """Priority -> the list of messages that are taken and not yet written."""
        return self.lists(f"{queue}.purging")

    def count(self, queue: str) -> list[tuple[int, int]] | None:
        """Each priority, and how many messages it has; None where the key is no list."""
        lengths = self.lengths([queue])
        failed = [length for length in lengths if isinstance(length, Exception)]
        if any("WRONGTYPE" not in str(error) for error in failed):
            raise failed[0]
        return None if failed else list(zip(self.lists(queue), lengths, strict=True))

    def interrupted(self, queue: str) -> Any:
        """The mark of a purge that was interrupted; None where there is none."""
        mark: Any = self.client.get(self.mark_of(queue))
        return json.loads(mark) if mark else None

    def claim(self, queue: str, mark: Mapping[str, str], force: bool) -> Any:
        """Set the mark, unless there is one or with ``force``; the mark that is there then."""
        return json.loads(self.run("claim.lua", [self.mark_of(queue)], json.dumps(mark), "force" if force else ""))

    def take(self, queue: str, priority: int, most: int, size: int) -> list[str]:
        """Move messages of a priority aside, unless there are some: what is aside then.

        :param most: messages
        :param size: bytes, after which no more are taken
        """
        keys = [self.lists(queue)[priority], self.aside(queue)[priority]]
        return [message.decode("utf-8", "surrogateescape") for message in self.run("take.lua", keys, most, size)]

    def written(self, queue: str, priority: int, last: str) -> None:
        """Remove what is aside and ends with the message ``last``."""
        self.run("written.lua", [self.aside(queue)[priority]], last.encode("utf-8", "surrogateescape"))

    def release(self, queue: str) -> None:
        """Take the mark away."""
        self.client.delete(self.mark_of(queue))

    def back(self, name: str) -> int:
        """How many messages of the dump ``name`` are back already."""
        done: Any = self.client.get(self.key(f"restoring.{name}"))
        return int(done or 0)

    def put(self, name: str, queue: str, messages: Sequence[tuple[int, str]], before: int, after: int) -> None:
        """Send messages (priority, text) of the dump ``name``, unless that was done.

        :param before: messages of the dump that are back before
        :param after: those that are back then
        """
        numbers = {step: number for number, step in enumerate(self.lists(queue))}
        sent = (part for step, text in messages for part in (numbers[step], text.encode("utf-8", "surrogateescape")))
        self.run("put.lua", [self.key(f"restoring.{name}"), *self.lists(queue).values()], before, after, *sent)

    def restored(self, name: str) -> None:
        """Forget how many messages of the dump are back."""
        self.client.delete(self.key(f"restoring.{name}"))


UNDELIVERED: dict[str, Any] = {"unacked": 0, "oldest": None}


def names_of(replies: Mapping[str, Iterable[Mapping[str, Any]]] | None) -> dict[str, list[str]]:
    """Node -> the names of its queues."""
    return {node: sorted(queue["name"] for queue in queues) for node, queues in (replies or {}).items()}


def sentence(task: Mapping[str, Any], node: str) -> str:
    """What is told of a task that keeps a node from stopping."""
    begun = f"for {time.time() - task['time_start']:.0f} s" if task["time_start"] else "not begun"
    return f"{task['name']}[{task['id']}] on {node}, {begun}"


def pool_problems(pools: Iterable[str]) -> list[str]:
    """What nodes with these pools lack."""
    found = []
    for pool in pools:
        try:
            importlib.import_module(LIBRARIES.get(pool, "celery"))
        except ImportError as error:
            found.append(f"a node has the pool {pool}, and {error}: add {pool} to the requirements")
    return found


def scheduler_problems(scheduler: str | None) -> list[str]:
    """What beat lacks for this scheduler."""
    known = dict(cast("Iterable[tuple[str, str]]", load_extension_class_names("celery.beat_schedulers")))
    try:
        if scheduler:
            symbol_by_name(scheduler, known)
    except (ImportError, AttributeError) as error:
        return [f"beat's scheduler is {scheduler}, and {error}: add its package to the requirements"]
    return []


def serve(asked: IO[str], answers: IO[str]) -> None:
    """Answer until ``asked`` ends. Its first line has the scripts, each other one a question, named by ``call``."""
    questions = Questions(json.loads(asked.readline()))
    for line in asked:
        ask = json.loads(line)
        print(json.dumps(getattr(questions, ask.pop("call"))(**ask)), file=answers, flush=True)
