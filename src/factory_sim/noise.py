"""Randomness that can be looked up at any instant: a hash of seed, stream and position.

Two windows that overlap agree where they do, in any process and on any day, and nothing
is stored. The near-normal values are sums of four uniform numbers, so they are bounded
(±3.46 standard deviations) and ranges hold for ever.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LANES_SD = 0.5773502691896258  # of a sum of four uniform numbers: sqrt(4 / 12)


def floats(values: Any) -> Floats:
    """Return ``values`` as an array of floats."""
    return np.asarray(values, dtype=np.float64)


class Noise:
    """Streams of noise under one seed; each name is a stream of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _bits(self, stream: str, position: Ints) -> npt.NDArray[np.uint64]:
        """Hash positions to 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
        key = hashlib.blake2b(f"{self.seed}/{stream}".encode(), digest_size=8).digest()
        x = np.atleast_1d(position).astype(np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        ) + np.frombuffer(key, np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

    def uniform(self, stream: str, position: Ints) -> Floats:
        """Return independent numbers in [0, 1), one per position."""
        return floats((self._bits(stream, position) >> np.uint64(11)) * 2.0**-53)

    def normal(self, stream: str, position: Ints) -> Floats:
        """Return independent, nearly normal numbers (mean 0, deviation 1), bounded by ±3.47."""
        bits = self._bits(stream, position)
        lane = np.uint64(0xFFFF)
        total = (
            (bits & lane)
            + ((bits >> np.uint64(16)) & lane)
            + ((bits >> np.uint64(32)) & lane)
            + (bits >> np.uint64(48))
        )
        return floats((total / 65536.0 - 2.0) / _LANES_SD)

    def smooth(self, stream: str, at_s: Ints, scale_s: int) -> Floats:
        """Return noise with a new value every ``scale_s`` seconds, eased from one to the next."""
        cell = at_s // scale_s
        share = (at_s - cell * scale_s) / scale_s
        ease = share * share * (3 - 2 * share)
        stream = f"{stream}/{scale_s}"
        mixed = self.normal(stream, cell) * (1 - ease) + self.normal(stream, cell + 1) * ease
        return floats(mixed / np.sqrt((1 - ease) ** 2 + ease**2))

    def layers(self, stream: str, at_s: Ints, weights_by_scale_s: dict[int, float]) -> Floats:
        """Return smooth noise of several scales; its variance is the sum of the squared weights."""
        parts = [
            weight * self.smooth(stream, at_s, scale)
            for scale, weight in weights_by_scale_s.items()
        ]
        return floats(np.sum(parts, axis=0))
