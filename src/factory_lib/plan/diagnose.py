"""Why there is no plan."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Obstacle:
    family: str


def diagnose(problem):
    return ()
