"""Turn a TOML table into a frozen record, strictly: unknown keys, wrong types and missing values name their place.

A few dozen lines of standard library instead of a validation framework, because every
scheduled tick loads the settings and importing such a framework costs several times the
tick.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from math import isfinite
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from factory_lib.errors import ConfigError

T = TypeVar("T")


def build(
    cls: type[T], table: Mapping[str, Any], where: str, *, file: str = "config/factory.toml"
) -> T:
    """Build the dataclass ``cls`` from ``table``.

    Supported field types: ``str int float bool date time datetime``, ``Enum``,
    ``Literal``, optional, ``tuple[T, ...]``, ``Mapping[str, T]`` and nested
    dataclasses. A ``ValueError`` raised by ``__post_init__`` is reported with its
    place.

    Raises
    ------
    ConfigError
        Names the key, the file and what was expected.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(where, f"must be a table, not {table!r}", file=file)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            from difflib import get_close_matches

            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise ConfigError(where, f"unknown key {key!r}{hint}", file=file)
    hints = get_type_hints(cls)
    values = {}
    for name, spec in known.items():
        if name in table:
            values[name] = _value(hints[name], table[name], f"{where}.{name}".lstrip("."), file)
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise ConfigError(where, f"{name!r} is missing", file=file)
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(where, str(error), file=file) from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the tables of ``over`` laid on top, key by key."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            merge(below, value)
            if isinstance(below, Mapping) and isinstance(value, Mapping)
            else value
        )
    return merged


def _value(hint: Any, raw: Any, where: str, file: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [a for a in args if a is not type(None)]
        return None if raw is None else _value(inner[0], raw, where, file)
    if origin is Literal:
        return _one_of(raw, args, where, file)
    if origin is tuple:
        return tuple(
            _value(args[0], item, f"{where}[{_called(item, i)}]", file)
            for i, item in enumerate(_list(raw, where, file))
        )
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, Mapping):
            raise ConfigError(where, f"must be a table, not {raw!r}", file=file)
        return {key: _value(args[1], item, f"{where}.{key}", file) for key, item in raw.items()}
    if hint is Any:
        return raw
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, raw, where, file=file)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(_one_of(raw, tuple(member.value for member in hint), where, file))
    return _scalar(hint, raw, where, file)


_WANTED = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text in quotes",
    time: 'a time such as "06:00"',
    date: "a date such as 2026-08-28",
    datetime: "an instant with its offset",
}


def _scalar(hint: type, raw: Any, where: str, file: str) -> Any:
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if hint in (time, date) and isinstance(raw, str):
        try:
            return hint.fromisoformat(raw)
        except ValueError:
            raise ConfigError(where, f"{raw!r} is not {_WANTED[hint]}", file=file) from None
    exact = (
        type(raw) is hint if hint in (int, float, bool, date, datetime) else isinstance(raw, hint)
    )
    if not exact or (hint is float and not isfinite(raw)):
        raise ConfigError(
            where, f"must be {_WANTED.get(hint, hint.__name__)}, not {_written(raw)}", file=file
        )
    return raw


def _written(raw: Any) -> str:
    """Return a value about as it stands in the file."""
    words = {True: "true", False: "false"}
    return words[raw] if isinstance(raw, bool) else f'"{raw}"' if isinstance(raw, str) else str(raw)


def _called(item: Any, number: int) -> Any:
    """Return the name a person knows an entry by, where it has one."""
    return item.get("name", number) if isinstance(item, Mapping) else number


def _list(raw: Any, where: str, file: str) -> list[Any]:
    if not isinstance(raw, list):
        raise ConfigError(where, f"must be a list, not {raw!r}", file=file)
    return raw


def _one_of(raw: Any, allowed: tuple[Any, ...], where: str, file: str) -> Any:
    if raw not in allowed:
        raise ConfigError(
            where, f"must be one of {', '.join(map(repr, allowed))}, not {raw!r}", file=file
        )
    return raw
