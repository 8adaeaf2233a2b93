"""Redis' own grammars, written down from its sources, to read back what we write."""

from __future__ import annotations

HEX = "0123456789abcdefABCDEF"
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a"}
BLANKS = " \t\n\v\f\r"


def sdssplitargs(line: str) -> list[bytes]:
    """The arguments of a line of redis.conf, as ``sdssplitargs`` of Redis' sds.c splits it.

    :raises ValueError: where Redis says "Unbalanced quotes in configuration line"
    """
    found: list[bytes] = []
    at = 0
    while True:
        while at < len(line) and line[at] in BLANKS:
            at += 1
        if at >= len(line):
            return found
        argument, at = _argument(line, at)
        found.append(argument)


def _argument(line: str, at: int) -> tuple[bytes, int]:
    current = b""
    while at < len(line):
        if line[at] == '"':
            inside, at = _double_quoted(line, at + 1)
            return current + inside, at
        if line[at] == "'":
            end = line.find("'", at + 1)
            if end < 0 or line[end + 1 : end + 2].strip(BLANKS):
                raise ValueError(f"unbalanced quotes: {line!r}")
            return current + line[at + 1 : end].encode(), end + 1
        if line[at] in " \n\r\t\0":
            return current, at + (line[at] == "\0") * len(line)
        current += line[at].encode()
        at += 1
    return current, at


def _double_quoted(line: str, at: int) -> tuple[bytes, int]:
    current = b""
    while at < len(line):
        if line[at] == "\\" and line[at + 1 : at + 2] == "x" and all(c in HEX for c in line[at + 2 : at + 4]):
            current += bytes([int(line[at + 2 : at + 4], 16)])
            at += 4
        elif line[at] == "\\" and at + 1 < len(line):
            current += ESCAPES.get(line[at + 1], line[at + 1].encode())
            at += 2
        elif line[at] == '"':
            if line[at + 1 : at + 2].strip(BLANKS):
                raise ValueError(f"no blank after the closing quote: {line!r}")
            return current, at + 1
        else:
            current += line[at].encode()
            at += 1
    raise ValueError(f"unbalanced quotes: {line!r}")


def directives(text: str) -> dict[str, list[bytes]]:
    """A whole redis.conf: directive -> its arguments.

    :raises ValueError: on a line without arguments, or a directive that stands there twice
    """
    found: dict[str, list[bytes]] = {}
    for line in text.split("\n"):
        if not line.strip(" \t\r\n") or line.lstrip().startswith("#"):
            continue
        name, *arguments = sdssplitargs(line.strip(" \t\r\n"))
        key = name.decode().lower()
        if not arguments or key in found:
            raise ValueError(f"no arguments, or said twice: {line!r}")
        found[key] = arguments
    return found
