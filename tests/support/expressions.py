"""Jinja compiles what it evaluates each time: in the tests of templates 21,000 expressions, of which 170 differ."""

from __future__ import annotations

from types import CodeType
from typing import Any
from unittest.mock import patch

from ansible._internal._templating import _jinja_bits as jinja

_code: dict[tuple[object, ...], CodeType] = {}
_compile = jinja.AnsibleEnvironment.compile


def compile_once() -> None:
    """From now on keep in this process what was compiled. It depends on nothing but the text and Jinja's settings."""
    patch.object(jinja.AnsibleEnvironment, "compile", _compiled).start()


def _compiled(environment: jinja.AnsibleEnvironment, source: Any, *more: Any, **named: Any) -> Any:
    if not isinstance(source, str):  # a tree, which compile_expression has parsed already
        return _compile(environment, source, *more, **named)
    context = jinja._TemplateCompileContext.current(optional=True)
    syntax = [getattr(environment, name) for name in jinja._TEMPLATE_OVERRIDE_FIELD_NAMES]
    key = (str(source), more, *named.items(), context and context.escape_backslashes, *syntax)
    if key not in _code:
        _code[key] = _compile(environment, source, *more, **named)
    return _code[key]
