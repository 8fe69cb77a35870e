"""Objects keep their numbers from scene to scene."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from grasp_gen_core.perception import FIRST_OBJECT, PLANE, Segmentation

NEAR = 0.03  # metres that half of an object's points are off where it was before, at most
POINTS = 300  # of an object that are compared, about
REMEMBERED = 10  # scenes in which an object that isn't seen keeps its number


@dataclass
class Thing:
    """An object as it was last seen.

    Args:
        number: its label.
        places: its points, metres.
        missed: scenes since.
    """

    number: int
    places: cKDTree
    missed: int = 0


class Tracker:
    """Numbers a scene's objects as those of the scenes before, where they are the same.

    The same is what lies where an object lay: half of its points within 3 cm of it, or, where less
    of it is seen by now, half of the object's within 3 cm of them. Of all ways to pair objects that
    one counts in which these distances, to and fro, are the least. Others get new numbers.
    """

    def __init__(self) -> None:
        self._things: list[Thing] = []
        self._next = FIRST_OBJECT

    def __call__(self, seen: Segmentation, pose: np.ndarray | None = None) -> Segmentation:
        """The same scene, its objects renumbered; the first scene's as they were.

        Args:
            seen: a scene.
            pose: (4, 4) of its frame in one that stands still; None: it stands still itself.
        """
        pose = np.eye(4) if pose is None else pose
        now = []
        for number in seen.numbers:
            points = seen.object(number)
            points = points[:: 1 + len(points) // POINTS].astype(np.float64)
            now.append(Thing(number, cKDTree(points @ pose[:3, :3].T + pose[:3, 3])))
        names = np.arange(max(seen.numbers, default=PLANE) + 1, dtype=seen.labels.dtype)
        known = self._same(now)
        for i, thing in enumerate(now):
            before = known.get(i, self._next)
            names[thing.number], thing.number = before, before
            self._next = max(self._next, before + 1)
        lost = [one for one in self._things if one.number not in known.values()]
        lost = [replace(one, missed=one.missed + 1) for one in lost if one.missed < REMEMBERED]
        self._things = now + lost
        return replace(seen, labels=names[seen.labels])

    def _same(self, now: list[Thing]) -> dict[int, int]:
        """Numbers that objects had before, by their places in the list."""
        apart = np.array(
            [[(_off(a, b), _off(b, a)) for b in self._things] for a in now], dtype=np.float64
        ).reshape(len(now), len(self._things), 2)
        same = apart.min(axis=2) < NEAR
        rows, columns = linear_sum_assignment(np.where(same, apart.sum(axis=2), 1e3))
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        return {i: self._things[j].number for i, j in pairs if same[i, j]}


def _off(one: Thing, other: Thing) -> float:
    """Metres from half of an object's points to another, at most."""
    return float(np.median(other.places.query(one.places.data)[0]))
