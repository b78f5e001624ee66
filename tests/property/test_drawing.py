"""A drawing with fewer points is the same drawing."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from factory_lib.views.drawing import _corners

Point = tuple[int, int]


def enclosed(path: str) -> int:
    """Return twice the area that a path encloses (the shoelace formula)."""
    points = [(int(x), int(y)) for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", path)]
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*points, points[0]])))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.integers(1, 3), st.data())
def test_a_path_without_straight_points_encloses_the_same(heights, often, data):
    top = [(x + side, height) for x, height in enumerate(heights) for side in (0, 1)]
    floor = [(x, 0) for x, _ in reversed(top)]
    points = [*top, *floor]
    repeated: list[Point] = [
        point for point in points for _ in range(data.draw(st.integers(1, often)))
    ]
    words = [f"{x} {y}" for x, y in repeated]
    path = f"M{words[0]}" + "".join(f"L{word}" for word in words[1:]) + "z"
    short = _corners(path)
    assert enclosed(short) == enclosed(path) == 2 * sum(heights)
    assert len(short) <= len(path)
