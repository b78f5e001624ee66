"""The one palette of pages, reports and charts, light and dark, apart to colour-blind eyes."""

from collections.abc import Mapping

_TABLE = """
bg f6f3ef 14110e       card fffdfb 1d1916    wash f1ece6 26211c    ink 231c17 f0e9e1
ink2 62574e b4a89c     line e6dfd7 332c26    line2 cbc0b4 4f463d   link 1f5380 8fc0ea
ok 0a6b66 4fc3b8       watch 9a5b00 f0b558   act a3202f ff8a92     market 2a5d8f 78aedd
market2 a9c3da 3a5a78  toll bfb3a6 695f55    p3 efe9e2 221d19      p2 e5dcd2 2a241f
opt 0a6b66 7fe0d6      mod 4e9f94 459d94     red cc8018 e6a84f     halt 7a1f33 c94f66
full bcd9d4 2b5551     none d9d0c6 3d352e    s1 ecdac2 f3e3cb      s2 d6b083 dcb687
s3 9f6534 bd8655       s4 79451f 9a673e      s5 4a2813 7d5030
"""
_CELLS = _TABLE.split()
_LIGHT_HEX = [f"#{cell}" for cell in _CELLS[1::3]]
_DARK_HEX = [f"#{cell}" for cell in _CELLS[2::3]]
LIGHT = dict(zip(_CELLS[::3], _LIGHT_HEX, strict=True))
DARK = dict(zip(_CELLS[::3], _DARK_HEX, strict=True))

LEVEL = {"ok": "ok", "warn": "watch", "fail": "act"}
SEVERITY = {"minor": "ink2", "moderate": "watch", "critical": "act"}
STATUS = {"present": "ok", "late": "ink2", "quarantined": "watch", "missing": "act"}
RECOMMENDATION = {"Optimal": "opt", "Moderate": "mod", "Reduced": "red", "Halt Production": "halt"}


def variable(name: str) -> str:
    """Return a colour for a style; where no page sets the variable, the light one."""
    return f"var(--{name}, {LIGHT[name]})"


def css() -> str:
    """Return the colours as variables of a page; paper is light."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n{dark}\n"


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
