"""Rules of accessibility that a page's HTML alone can break."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

NAMELESS = {"alt", "aria-label", "aria-labelledby", "title"}


class _Reader(HTMLParser):
    """Collects what breaks a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.headings: list[int] = []
        self.labelled = 0  # depth of labels
        self.head: list[str] | None = None  # of a table, or a link's or button's text
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        named = bool(NAMELESS & {name for name, value in attrs if value})
        hidden = given.get("type") == "hidden" or given.get("aria-hidden") == "true"
        if tag == "html" and not given.get("lang"):
            self.faults.append("html without lang")
        if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.headings.append(int(tag[1]))
        if tag in ("img", "svg") and not (named or hidden):
            self.faults.append(f"{tag} without a text")
        if given.get("role") in ("img", "region") and not named:
            self.faults.append(f"{tag} of role {given['role']} without a name")
        if tag in ("input", "select", "textarea") and not (named or hidden or self.labelled):
            self.faults.append(f"{tag} without a label")
        if (name := given.get("id")) and name in self.ids:
            self.faults.append(f"id {name} stands twice")
        self.ids.add(given.get("id") or "")
        self.labelled += tag == "label"
        if tag in ("th", "a", "button"):
            self.head = ["named"] if named else []

    def handle_data(self, data: str) -> None:
        if self.head is not None and data.strip():
            self.head.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.labelled -= tag == "label"
        if tag in ("th", "a", "button"):
            if not self.head:
                self.faults.append(f"{tag} without a text")
            self.head = None


def faults(page: str) -> list[str]:
    """Return the rules that a page breaks."""
    reader = _Reader()
    reader.feed(page)
    skipped = [f"h{b} after h{a}" for a, b in pairwise(reader.headings) if b > a + 1]
    if reader.headings.count(1) != 1 or reader.headings[:1] != [1]:
        skipped.append(f"headings begin {reader.headings[:3]}, with one h1 alone")
    return [*reader.faults, *skipped]
