"""Ways to spoil an answer, and which of its fields were touched."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from benchmarks._wire import Wire

Chance = random.Random
Leaf = tuple[tuple[Any, ...], Any]
WORDS = [
    "",
    "null",
    "NaN",
    "Ip",
    "Acum",
    "Varias",
    "-",
    "1e400",
    "0x10",
    "١٢",
    "31/02/2026",
    "24:00",
    "0,0,0",
    " 7 ",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    [],
    {},
    "x",
    -1,
    0,
    10**400,
    1e308,
    -999.9,
    9999,
    "12",
    [1],
    {"value": 1},
]
STATUSES = [204, 302, 400, 401, 403, 404, 408, 418, 429, 500, 502, 503, 504]
PAGES = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b"<html><body>Request unsuccessful. Incapsula incident ID: 1</body></html>",
]
TYPES = ["text/html", "json", "application/json; charset=utf-16", "text/plain;charset=nonsense", ""]


def mutate(wire: Wire, chance: Chance) -> Wire:
    """Return ``wire`` with one thing wrong.

    A field, the structure, some bytes, or what surrounds the body.
    """
    kind = chance.choices((_field, _structure, _bytes, _around), (5, 3, 3, 1))[0]
    return kind(wire, chance)


def touched(before: bytes, after: bytes) -> list[tuple[float, float]] | None:
    """Return (old, new) of every number that differs between two bodies.

    None if they have different shapes.
    """
    old, new = list(_flat(before)), list(_flat(after))
    if [path for path, _ in old] != [path for path, _ in new]:
        return None
    pairs = [(_number(a), _number(b)) for (_, a), (_, b) in zip(old, new, strict=True) if a != b]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


# -- one field -------------------------------------------------------------------------


def _field(wire: Wire, chance: Chance) -> Wire:
    tree = tree_of(wire.body)
    if tree is None:
        return _cell(wire, chance)
    leaves = list(_leaves(tree))
    if not leaves:
        return _bytes(wire, chance)
    path, value = chance.choice(leaves)
    return as_body(wire, _replaced(tree, path, _other(value, chance)))


def _other(value: Any, chance: Chance) -> Any:
    if chance.random() < 0.3:
        return chance.choice(VALUES)
    text = _other_text(str(value), chance)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _other_text(text: str, chance: Chance) -> str:
    digits = [position for position, letter in enumerate(text) if letter.isdecimal()]
    if not digits or chance.random() < 0.15:
        return chance.choice(WORDS)
    position = chance.choice(digits)
    return (
        text[:position]
        + str((int(text[position]) + chance.randint(1, 9)) % 10)
        + text[position + 1 :]
    )


def _cell(wire: Wire, chance: Chance) -> Wire:
    """Change one cell of a text with semicolons."""
    encoding, lines = _lines(wire.body)
    row = chance.randrange(len(lines))
    cells = lines[row].split(";")
    column = chance.randrange(len(cells))
    cells[column] = _other_text(cells[column], chance)
    lines[row] = ";".join(cells)
    return wire._replace(body="\r\n".join(lines).encode(encoding, "replace"))


# -- the structure ---------------------------------------------------------------------


def _structure(wire: Wire, chance: Chance) -> Wire:
    tree = tree_of(wire.body)
    if tree is None:
        encoding, lines = _lines(wire.body)
        _disorder(lines, chance)
        return wire._replace(body="\r\n".join(lines).encode(encoding, "replace"))
    container = chance.choice([tree, *(node for node in _containers(tree))])
    if isinstance(container, list):
        _disorder(container, chance)
    elif container:
        key = chance.choice(list(container))
        value = container.pop(key)
        if chance.random() < 0.3:
            container[key.swapcase()] = value
    return as_body(wire, tree)


def _disorder(rows: list[Any], chance: Chance) -> None:
    if not rows:
        rows.append(chance.choice(VALUES))
        return
    position, other = chance.randrange(len(rows)), chance.randrange(len(rows))
    match chance.randrange(5):
        case 0:
            del rows[position]
        case 1:
            rows.insert(other, rows[position])
        case 2:
            rows[position], rows[other] = rows[other], rows[position]
        case 3:
            del rows[min(position, other) : max(position, other)]
        case _:
            rows.insert(
                position,
                chance.choice(VALUES) if not isinstance(rows[0], str) else chance.choice(WORDS),
            )


# -- bytes, and what surrounds them ----------------------------------------------------


def _bytes(wire: Wire, chance: Chance) -> Wire:
    body = bytearray(wire.body)
    position = chance.randrange(len(body)) if body else 0
    match chance.randrange(6):
        case 0:
            del body[position:]
        case 1:
            del body[position : position + chance.randint(1, 3)]
        case 2:
            body.insert(position, chance.randrange(256))
        case 3:
            body[position : position + 1] = bytes([chance.randrange(256)])
        case 4:
            body[position:position] = body[position : position + chance.randint(1, 80)]
        case _:
            body[:0] = b"\xef\xbb\xbf"
    return wire._replace(body=bytes(body))


def _around(wire: Wire, chance: Chance) -> Wire:
    match chance.randrange(4):
        case 0:
            return wire._replace(status=chance.choice(STATUSES))
        case 1:
            return wire._replace(body=chance.choice(PAGES))
        case 2:
            return wire._replace(content_type=chance.choice(TYPES))
        case _:
            return wire._replace(status=chance.choice(STATUSES), body=chance.choice(PAGES))


# -- bodies as trees -------------------------------------------------------------------


def tree_of(body: bytes) -> Any:
    """Return the JSON of a body; None where it is no object or list."""
    for encoding in ("utf-8", "iso-8859-15"):
        try:
            tree = json.loads(body.decode(encoding))
        except (ValueError, RecursionError):
            continue
        return tree if isinstance(tree, dict | list) else None
    return None


def as_body(wire: Wire, tree: Any) -> Wire:
    """Return ``wire`` with this JSON, in the charset that it had."""
    encoding = "iso-8859-15" if "8859" in wire.content_type else "utf-8"
    text = json.dumps(tree, ensure_ascii=False)
    return wire._replace(body=text.encode(encoding, "replace"))


def _lines(body: bytes) -> tuple[str, list[str]]:
    encoding = "utf-16-le" if b"\x00" in body[:4] else "latin-1"
    return encoding, body.decode(encoding, "replace").split("\r\n")


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[Leaf]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _leaves(value, (*path, position))
    else:
        yield path, node


def _containers(node: Any) -> Iterator[Any]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        if isinstance(child, dict | list):
            yield child
            yield from _containers(child)


def _replaced(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    node[path[0]] = _replaced(node[path[0]], path[1:], value)
    return node


def _flat(body: bytes) -> Iterator[Leaf]:
    tree = tree_of(body)
    if tree is not None:
        yield from _leaves(tree)
        return
    _, lines = _lines(body)
    for row, line in enumerate(lines):
        for column, cell in enumerate(line.split(";")):
            yield (row, column), cell


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(str(value).replace(",", "."))
    except (ValueError, OverflowError):
        return None
