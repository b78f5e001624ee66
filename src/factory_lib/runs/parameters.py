"""Parameters that a person types, read as what the notebook declares and not by their look.

``since=20251101`` is a date where the notebook's parameter is text, and ``days=3d`` is
refused before anything runs.
"""

from collections.abc import Callable, Mapping
from typing import Any

from factory_lib.errors import BadInput, UnknownParameter

# Those of every notebook, given by options of the command: another profile's store must
# not be opened, nor its alerts raised, under the name of this one.
BY_OPTION = {"profile": "--profile", "as_of": "--as-of", "site": "--site"}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _truth(text: str) -> bool:
    return _WORDS[text.lower()]


def _nothing(text: str) -> None:
    if text.lower() not in ("none", ""):
        raise ValueError


# The first type that can be read wins: text last, for any text is one.
READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "bool": (_truth, "true or false"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "None": (_nothing, "none"),
    "str": (str, "text"),
}


def read_parameters(
    notebook: str, declared: Mapping[str, set[str]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a person gave, each in the type that the notebook declares.

    Parameters
    ----------
    declared : mapping of str to set of str
        The names of the types that each parameter may have (``report.declared_parameters``).
    given : mapping
        Texts as they were typed, or values.

    Raises
    ------
    UnknownParameter
        If the notebook declares no such parameter.
    BadInput
        If a value is of no type that it declares, or has an option of its own.
    """
    for name in BY_OPTION.keys() & given.keys():
        raise BadInput(
            f"{name} is no parameter of a run.", next_step=f"Give {BY_OPTION[name]} instead."
        )
    if unknown := sorted(given.keys() - declared.keys()):
        raise UnknownParameter(notebook, unknown, sorted(declared.keys() - BY_OPTION.keys()))
    return {name: _read(name, declared[name], value) for name, value in given.items()}


def _read(name: str, types: set[str], value: Any) -> Any:
    kinds = [kind for kind in READERS if kind in types]
    if not kinds or type(value).__name__.replace("NoneType", "None") in types - {"str"}:
        return value
    text = value if isinstance(value, str) else repr(value)
    for kind in kinds:
        try:
            return READERS[kind][0](text)
        except (ValueError, KeyError):
            continue
    form = " or ".join(READERS[kind][1] for kind in kinds if kind != "None")
    raise BadInput(
        f"The parameter {name} is {form}, not {text!r}.", next_step=f"Write {name}={form}."
    )
