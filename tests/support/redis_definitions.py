"""Hypothesis strategies for ``redis_instances`` and ``redis_users``: right ones, and slightly wrong ones."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_checks as checks
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_grammar as grammar
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

# In every password, so that one in a sentence is seen.
MARK = "pässwörd-"
KEYS = [key for name in ("redis_instances", "redis_users") for key in specs.keys("redis", name)]
NAMES = st.builds("{}{}".format, st.sampled_from("abcxyz"), st.text("abcxyz019_-", max_size=11))
WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
GARBAGE = st.one_of(
    st.sampled_from(
        [
            None,
            "",
            " ",
            "-",
            "0",
            "-1",
            -1,
            0,
            2**70,
            1.5,
            True,
            [],
            [""],
            [None],
            {},
            {"x": 1},
            "\0",
            "a\nb",
            "{{ x }}",
        ]
    ),
    st.text(max_size=5),
)


def mostly(right: Strategy, wrong: Strategy, share: int = 25) -> Strategy:
    """``right``, and in one of ``share`` cases ``wrong``."""
    return st.integers(1, share).flatmap(lambda at: wrong if at == share else right)


# -- configuration


def _numbers(least: int, most: int) -> Strategy:
    near = [each for each in (least, least + 1, 1, 5, 100, most - 1, most) if least <= each <= most]
    return st.sampled_from(near) | st.integers(least, most)


def _sizes(least: int, most: int) -> Strategy:
    units = st.sampled_from(["", "k", "K", "kb", "m", "MB", "g", "Gb", "b"])
    sized = st.tuples(st.integers(1, 2000), units).map(lambda pair: f"{pair[0]}{pair[1]}")
    fitting = sized.filter(lambda text: not grammar._memory("", [str(least), str(most)], [text]))
    return _numbers(least, most) | fitting


SAVE = st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=3).map(
    lambda pairs: [*sum(pairs, ())]
)
LIMIT = st.tuples(
    st.sampled_from(["normal", "replica", "slave", "pubsub"]), _sizes(0, 2**40), _sizes(0, 2**40), st.integers(0, 600)
)
SPECIALS: dict[str, Strategy] = {
    "save": SAVE,
    "client-output-buffer-limit": st.lists(LIMIT, min_size=1, max_size=3).map(lambda each: [*sum(each, ())]),
    "latency-tracking-info-percentiles": st.lists(
        st.integers(0, 100) | st.sampled_from([0.1, 50.5, 99.99]), max_size=4
    ),
    "oom-score-adj-values": st.lists(st.integers(-2000, 2000), min_size=3, max_size=3),
}
CPUS = st.sampled_from(["", "0", "0-1", "0,2-3", "0-7:2"])
TEXTS: dict[str, Strategy] = {
    **dict.fromkeys((name for name in grammar.TEXTS if "cpulist" in name), CPUS),
    "availability-zone": st.sampled_from(["", "eu-1a"]),
    "ignore-warnings": st.sampled_from(["", "ARM64-COW-BUG"]),
    "locale-collate": st.sampled_from(["", "C"]),
    "proc-title-template": st.sampled_from(["{title} x", "two words", 'dou"ble', "sin'gle {port}", "#1 \\ 100% ünï"]),
}


def _right(name: str, kind: str, *words: str) -> Strategy:
    """Values that a server takes for a directive, as a YAML author may write them."""
    if kind == "enum":
        yaml = {"yes": [True, "yes", "YES"], "no": [False, "no", "No"]}
        return st.sampled_from([value for word in words for value in yaml.get(word, [word, word.upper()])])
    if kind == "flags":
        flags = st.lists(st.sampled_from(words), min_size=1, unique=True).filter(
            lambda s: not {"save", "nosave"} <= set(s)
        )
        return flags | flags.map(" ".join)
    if kind == "integer":
        numbers = _numbers(*grammar.LIMITS.get(name, map(int, words)))
        return numbers | numbers.map(str)
    if kind in ("memory", "memory-or-percent"):
        shares = st.integers(0, 100).map("{}%".format)
        return _sizes(*map(int, words)) | (shares if kind == "memory-or-percent" else st.nothing())
    if kind == "letters":
        return st.text(words[0], max_size=8)
    return {**SPECIALS, **TEXTS}[name]


def _wrong(right: Strategy, kind: str, *words: str) -> Strategy:
    """Values that look like the right ones, most of which a server doesn't take."""
    near: Strategy = st.sampled_from(
        ["yess", "on", "true", "1e3", "010", "+1", "10 ", "0x10", "5%", "101%", "1t", "-5", "a b"]
    )
    if kind in ("integer", "memory", "memory-or-percent"):
        near |= st.sampled_from([int(words[0]) - 1, int(words[1]) + 1, 2**64, 2**80, "99999999999gb"])
    spoilt = right.map(lambda value: [*value, "x"] if isinstance(value, list) else [value, value])
    return near | spoilt | right.map("{}x".format) | GARBAGE


def configurable(server: str) -> dict[str, list[str]]:
    """Directive -> kind and what goes with it, of what ``config`` may set."""
    return {
        name: list(kind)
        for name, kind in grammar.directives(server).items()
        if not any(fnmatchcase(name, pattern) for pattern in checks.OWN_DIRECTIVES)
        and (kind[0] != "text" or name in TEXTS)
    }


@cache
def settings_of(server: str, share: int = 15) -> Strategy:
    """Pairs of a directive that ``config`` may set and a value; one of ``share`` is (probably) wrong."""
    pairs = []
    for name, kind in configurable(server).items():
        right = _right(name, *kind)
        pairs.append(st.tuples(st.just(name), mostly(right, _wrong(right, *kind), share)))
    return st.sampled_from(pairs).flatmap(lambda pair: pair)


@cache
def unsettable(server: str) -> Strategy:
    """Directives that ``config`` may not set, or that are none."""
    names = sorted(set(grammar.directives(server)) - set(configurable(server)))
    return st.sampled_from([*names, "user", "include", "rename-command", "maxmemory-polcy", "HZ", "hz ", ""]) | WORDS


# -- rules


@cache
def rules_of(server: str, share: int = 25) -> Strategy:
    """Lists of a user's rules; each rule is one of ``share`` times (probably) wrong."""
    commands = st.sampled_from(sorted(grammar.commands(server)))
    plain = st.sampled_from(sorted(name for name in grammar.commands(server) if "|" not in name))
    patterns = st.text(st.sampled_from("abc:*?[]\\^-#>\"'(){}|ü%&~"), min_size=1, max_size=6)
    signs = st.sampled_from("+-")
    right = st.one_of(
        st.builds("{}{}".format, st.sampled_from(["~", "%R~", "%W~", "%rw~", "%WR~", "&"]), patterns),
        st.builds("{}{}".format, signs, commands | commands.map(str.upper)),
        st.builds("{}@{}".format, signs, st.sampled_from(sorted(grammar.categories(server)))),
        st.builds("+{}|{}".format, plain, st.sampled_from(["0", "x"])),
        st.sampled_from(["allcommands", "nocommands", "resetkeys", "resetchannels", "-@all", "+@all"]),
    )
    wrong = st.one_of(
        st.builds("{}{}".format, st.sampled_from(["%X~", "%~", "%RR~", "@", "", "(", "*", "~ ", ">", "#"]), patterns),
        st.builds("{}{}x".format, signs, commands),
        st.builds("{}{}|x".format, signs, commands),
        st.builds("{}@{}".format, signs, WORDS),
        st.sampled_from(
            ["on", "nopass", "reset", ">secret", "~", "+", "()", "(+get", "((+get))", "allkeys", "&*", "~*"]
        ),
        st.text(max_size=4),
    )
    whole = st.sampled_from([[], [], ["allkeys"], ["~*"], ["allchannels"], ["&*"]])
    rule = mostly(right, wrong, share)
    selector = st.lists(rule, min_size=1, max_size=3).map(lambda inner: f"({' '.join(inner)})")
    return st.builds(
        lambda rules, ends, selectors: [*rules, *ends, *selectors],
        st.lists(rule, min_size=1, max_size=6),
        whole,
        st.lists(selector, max_size=1),
    )


# -- definitions

BINDS = [["127.0.0.1"], ["127.0.0.1", "-::1"], ["*"], ["0.0.0.0", "-::"], ["192.0.2.7", "-2001:db8::7"]]
MEMORY = st.integers(2**20, 2**40) | st.sampled_from(["1mb", "512MB", "2gb", "3g", "64m", "1%", "25%", "1048576"])


@cache
def instances_of(server: str) -> Strategy:
    """An entry of ``redis_instances``."""
    return st.fixed_dictionaries(
        {
            "name": NAMES,
            "port": st.integers(1024, 65535),
            "profile": st.sampled_from(["broker", "results", "cache"]),
            "maxmemory": MEMORY,
        },
        optional={
            "bind": st.sampled_from(BINDS),
            "maxclients": st.integers(1, 100_000),
            "tls": st.booleans(),
            "backup": st.booleans(),
            "config": st.lists(settings_of(server), max_size=5).map(dict),
        },
    )


PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=7, max_size=20).map(MARK.__add__)


@cache
def users_of(server: str) -> Strategy:
    """An entry of ``redis_users``."""
    login = {"name": NAMES, "password": PASSWORDS}
    return st.one_of(
        st.fixed_dictionaries({**login, "profile": st.sampled_from(["admin", "monitor", "replica"])}),
        st.fixed_dictionaries(
            {**login, "profile": st.just("celery")},
            optional={
                "key_prefix": st.text(st.sampled_from("ab:/ü-.{}#%&~\"'"), max_size=6),
                "databases": st.lists(st.integers(0, 15), min_size=1, max_size=3),
            },
        ),
        st.fixed_dictionaries({**login, "rules": rules_of(server)}),
        st.fixed_dictionaries({"name": st.just("default"), "password": PASSWORDS, "profile": st.just("admin")}),
    )


@cache
def definitions(server: str) -> Strategy:
    """``redis_instances`` and ``redis_users`` for a server: about half of them right."""
    unique = (lambda instance: instance["name"], lambda instance: instance["port"])
    instances = st.lists(instances_of(server), min_size=1, max_size=2, unique_by=unique)
    users = st.lists(users_of(server), min_size=1, max_size=3, unique_by=lambda user: user["name"])
    return _defined(server, instances, users)


@st.composite
def _defined(draw: st.DrawFn, server: str, instances: Strategy, users: Strategy) -> dict[str, Any]:
    found: dict[str, Any] = {"redis_instances": draw(instances), "redis_users": draw(users)}
    names = [instance["name"] for instance in found["redis_instances"]]
    for user in found["redis_users"][1:]:
        if draw(st.booleans()):
            user["instances"] = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    if draw(st.integers(1, 5)) == 1:
        _spoil(draw, server, draw(st.sampled_from([*found["redis_instances"], *found["redis_users"]])))
    return found


def _spoil(draw: st.DrawFn, server: str, entry: dict[str, Any]) -> None:
    """Change an entry so that it is probably wrong; its password stays one that is seen in a sentence."""
    keys = sorted(set(entry) - {"password"})
    how = draw(st.sampled_from(["garbage", "garbage", "missing", "unknown", "directive", "foreign"]))
    if how == "garbage":
        entry[draw(st.sampled_from(keys))] = draw(GARBAGE)
    elif how == "missing":
        del entry[draw(st.sampled_from(keys))]
    elif how == "unknown":
        entry[draw(WORDS)] = draw(GARBAGE)
    elif how == "directive" and isinstance(entry.get("config", {}), dict):
        entry["config"] = {draw(unsettable(server)): draw(GARBAGE)}
    else:
        entry[draw(st.sampled_from(KEYS))] = draw(GARBAGE)


def collected(strategy: Strategy, count: int) -> list[Any]:
    """What ``count`` examples of a strategy give, the same in each run, without repetitions."""
    found: dict[str, Any] = {}

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(strategy)
    def take(example: Any) -> None:
        found.setdefault(repr(example), example)

    take()
    return list(found.values())
