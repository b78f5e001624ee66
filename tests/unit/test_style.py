"""The words and the form of the code, package by package.

``python tests/unit/test_style.py PACKAGE…`` prints every violation of a package.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from radon.complexity import cc_visit

SOURCE = Path(__file__).parents[2] / "src"
LIBRARY = SOURCE / "factory_lib"

LONGEST_FUNCTION = 50
HIGHEST_COMPLEXITY = 10
SHORT_LINE, SHORT_SHARE = 88, 0.9

# Words of a private vocabulary that the field does not use. `room` is the plant's room
# and nothing else.
WORD = re.compile(
    "(house|door|hunt|quarr(y|ie)|hand|desk|tall(y|ie)|stock|told|said|stood|owed|dear|barred"
    "|whoever|nobody|somebody)s?"
)
ROOM = re.compile("rooms?")
PHRASES = re.compile(r"leave word|left word|let go of|brought back", re.IGNORECASE)
KNOWS_THE_ROOM = {
    "analysis",
    "domain",
    "lab",
    "monitoring",
    "planner",
    "planning",
    "settings",
    "views",
}
PARTICIPLES = {
    "asked",
    "brought",
    "came",
    "chosen",
    "found",
    "held",
    "known",
    "said",
    "told",
    "wanted",
}
OPENINGS = {"How", "What", "When", "Where", "Which", "Who", "Whoever", "Whose", "Why"}

# A public name of two packages is either the same thing twice, because one is an
# interface that several packages fulfil, or one of the few that mean two things.
ONE_MEANING = {
    "classify_response",  # the error a reply stands for: at any provider, at one provider
    "summarise",  # composes the JobResult of a computation
}
TWO_MEANINGS: set[str] = set()
FACADES = {"cli", "lab", "service"}  # their functions carry the name of what they call


def package_of(file: Path) -> str:
    """Return the package of ``factory_lib`` that a file belongs to, or ``factory_sim``."""
    parts = file.relative_to(SOURCE).parts
    return (parts[1] if parts[0] == LIBRARY.name else parts[0]).removesuffix(".py")


FILES: dict[str, list[Path]] = defaultdict(list)
for path in sorted(SOURCE.rglob("*.py")):
    FILES[package_of(path)].append(path)
PACKAGES = sorted(FILES)


# -- words ----------------------------------------------------------------------------------------


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case; snake_case and CamelCase are several words."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]


def word_violations(file: Path) -> Iterator[str]:
    """Yield each place of a word that is not used any more, in names, texts or comments."""
    plant = package_of(file) in KNOWS_THE_ROOM
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        for word in split_words(line):
            if WORD.fullmatch(word) or (ROOM.fullmatch(word) and not plant):
                yield f"{number}: the word {word!r}"
        if phrase := PHRASES.search(line):
            yield f"{number}: the words {phrase[0]!r}"


def bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node gives to something."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.alias) and node.asname:
        yield node.asname


def name_violations(file: Path) -> Iterator[str]:
    """Yield each bare past participle that names something."""
    for node in ast.walk(parse(file)):
        for name in PARTICIPLES.intersection(bound_names(node)):
            yield f"{getattr(node, 'lineno', 0)}: {name!r} names no thing"


def docstring_violations(file: Path) -> Iterator[str]:
    """Yield each docstring that opens with a question word."""
    for node in ast.walk(parse(file)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        text = ast.get_docstring(node) or ""
        if re.split(r"\W", text, maxsplit=1)[0] in OPENINGS:
            yield f"{getattr(node, 'lineno', 1)}: the docstring opens with {text.split()[0]!r}"


ROOT = SOURCE.parent
DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("notebooks/**/*.ipynb"),
        *ROOT.glob("config/*.toml"),
        ROOT / "Makefile",
    }
    # These two name keys of before.
    - {ROOT / "docs" / "renamed-keys.md", ROOT / "CHANGELOG.md"}
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_keep_to_the_words(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert [word for word in split_words(text) if WORD.fullmatch(word)] == []
    assert PHRASES.search(text) is None


# -- form -----------------------------------------------------------------------------------------


def parse(file: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def function_violations(file: Path) -> Iterator[str]:
    """Yield each function that is too long, or too complex by radon."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{node.lineno}: {node.name} has {length} lines"
    for block in cc_visit(file.read_text(encoding="utf-8")):
        if block.complexity > HIGHEST_COMPLEXITY:
            yield f"{block.lineno}: {block.name} has a complexity of {block.complexity}"


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def comprehension_violations(file: Path) -> Iterator[str]:
    """Yield each comprehension that lies within another."""
    for outer in ast.walk(parse(file)):
        if isinstance(outer, COMPREHENSIONS):
            inner = [node for node in ast.walk(outer) if isinstance(node, COMPREHENSIONS)]
            if len(inner) > 1:
                yield f"{outer.lineno}: nested comprehension"


def tuple_violations(file: Path) -> Iterator[str]:
    """Yield each assignment of several values at once, unless they are constants or swapped."""
    for node in ast.walk(parse(file)):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)):
            continue
        (target, *_) = node.targets
        values = node.value.elts
        if not isinstance(target, ast.Tuple) or all(isinstance(v, ast.Constant) for v in values):
            continue
        if {ast.unparse(t) for t in target.elts} != {ast.unparse(v) for v in values}:
            yield f"{node.lineno}: tuple assignment {ast.unparse(node)[:60]!r}"


def line_violations(file: Path) -> Iterator[str]:
    """Yield each line over 100 characters or shielded from the formatter."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if len(line) > 100:
            yield f"{number}: {len(line)} characters"
        if re.search("fmt: (skip|off)", line):
            yield f"{number}: shielded from the formatter"


def width_violations(package: str) -> Iterator[str]:
    """Yield the share of short lines where it is too small; tiny packages are left out."""
    lines = [
        line
        for file in FILES[package]
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    share = sum(len(line) <= SHORT_LINE for line in lines) / max(1, len(lines))
    if share < SHORT_SHARE and len(lines) > 100:
        yield f"{share:.1%} of {len(lines)} lines have at most {SHORT_LINE} characters"


CHECKS = {
    "words": word_violations,
    "names": name_violations,
    "docstrings": docstring_violations,
    "functions": function_violations,
    "comprehensions": comprehension_violations,
    "tuples": tuple_violations,
    "lines": line_violations,
}


def violations(package: str, check: str) -> list[str]:
    """Return what one check has against a package, with file and line."""
    return [
        f"{file.relative_to(SOURCE)}:{line}"
        for file in FILES[package]
        for line in CHECKS[check](file)
    ]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("package", PACKAGES)
def test_packages_keep_to_the_style(package: str, check: str) -> None:
    assert violations(package, check) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_most_lines_are_short(package: str) -> None:
    assert list(width_violations(package)) == []


# -- one word, one thing --------------------------------------------------------------------------


def public_names(file: Path) -> Iterator[str]:
    """Yield the public names that a module defines."""
    for node in parse(file).body:
        names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))


def shared_names() -> dict[str, set[str]]:
    """Return the public names that several packages of the library define, with the packages."""
    homes: dict[str, set[str]] = defaultdict(set)
    for package in set(FILES) - FACADES - {"factory_sim", "plan"}:  # planner replaces plan
        for file in FILES[package]:
            for name in public_names(file):
                homes[name].add(package)
    return {name: packages for name, packages in homes.items() if len(packages) > 1}


def test_a_public_name_means_one_thing() -> None:
    assert {k: v for k, v in shared_names().items() if k not in ONE_MEANING | TWO_MEANINGS} == {}
    assert len(TWO_MEANINGS) <= 5


if __name__ == "__main__":
    for wanted_package in sys.argv[1:] or PACKAGES:
        for name_of_check in CHECKS:
            sys.stdout.writelines(f"{line}\n" for line in violations(wanted_package, name_of_check))
        sys.stdout.writelines(f"{wanted_package}: {s}\n" for s in width_violations(wanted_package))
    for shared, where in sorted(shared_names().items()):
        if not sys.argv[1:] or where.intersection(sys.argv[1:]):
            sys.stdout.write(f"{shared} is defined in {', '.join(sorted(where))}\n")
