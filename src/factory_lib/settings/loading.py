"""Decode a TOML table into frozen records, strictly: each error names its place and remedy."""

import re
from collections.abc import Iterator, Mapping
from datetime import time
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from factory_lib.errors import ConfigError

_T = TypeVar("_T")
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]
_EXPECTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text in quotes",
    "date": "a date such as 2026-08-28",
    "object": "a table",
    "array": "a list",
}
_BOUNDS = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the settings.

    ``__post_init__`` raises ``ValueError`` for values that do not fit each other; limits
    of a single number belong in its type (``msgspec.Meta``). ``msgspec.structs.replace``
    returns a changed copy.
    """


class WallTime(time):
    """A local time of day, written ``"06:00"``."""


def decode(
    cls: type[_T], table: Mapping[str, Any], where: str, *, file: str = "config/factory.toml"
) -> _T:
    """Decode ``table`` as a ``cls``.

    Raises
    ------
    ConfigError
        Names the place, the file and what was expected.
    """
    try:
        return msgspec.convert(table, cls, dec_hook=_decode)
    except msgspec.ValidationError as error:
        place, problem = _first_problem(table, cls, where) or (where, str(error))
        raise ConfigError(place, problem, file=file) from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the tables of ``over`` laid on top, key by key."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        merged[key] = value
    return merged


def _decode(cls: type, raw: Any) -> Any:
    if cls is not WallTime:
        raise NotImplementedError(cls)
    try:
        return WallTime.fromisoformat(str(raw))
    except ValueError:
        raise ValueError(f'{raw!r} is not a time such as "06:00"') from None


def _first_problem(raw: Any, cls: Any, where: str) -> tuple[str, str] | None:
    """Return place and text of the first value that does not fit its type, innermost first.

    The decoder's own path has no keys of tables by name.
    """
    for place, part, part_cls in _parts(raw, cls, where):
        if problem := _first_problem(part, part_cls, place):
            return problem
    try:
        msgspec.convert(raw, cls, dec_hook=_decode)
    except msgspec.ValidationError as error:
        return where, _in_words(str(error), raw, cls)
    return None


def _parts(raw: Any, cls: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield place, value and type of the parts of a table or list."""
    if isinstance(raw, list) and get_origin(cls) is tuple:
        for number, part in enumerate(raw):
            name = part.get("name", number) if isinstance(part, Mapping) else number
            yield f"{where}[{name}]", part, get_args(cls)[0]
    elif isinstance(raw, Mapping):
        by_name = get_args(cls)[1] if get_origin(cls) is Mapping else None
        fields = _fields(cls)
        for key, part in raw.items():
            if part_cls := fields.get(key, by_name):
                yield f"{where}.{key}".lstrip("."), part, part_cls


def _fields(cls: Any) -> dict[str, Any]:
    """Return the fields of a record with their types; none of any other type."""
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        return {}
    return {field.name: field.type for field in msgspec.structs.fields(cls)}


def _in_words(text: str, raw: Any, cls: Any) -> str:
    """Return the decoder's message about one value in the words of a settings file."""
    written = f'"{raw}"' if isinstance(raw, str) else str(raw).replace("True", "true")
    if match := re.search(r" ([<>]=?) ([\d.-]+)", text):
        return f"must be {_BOUNDS[match[1]]} {float(match[2]):g}, not {written}"
    if match := re.match(r"Expected `(\w+)", text):
        return f"must be {_EXPECTED.get(match[1], match[1])}, not {written}"
    if text.startswith("Invalid enum value"):
        return f"must be one of {', '.join(map(repr, get_args(cls)))}, not {raw!r}"
    if match := re.search(r"(missing|unknown).* field `(.+)`", text):
        kind, name = match.groups()
        near = _nearest(name, raw if kind == "missing" else _fields(cls))
        return f"key {name!r} is {kind}" + near
    return text


def _nearest(name: str, names: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
