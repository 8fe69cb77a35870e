"""Scene cloud or depth image -> the plane that things stand on, and the things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError, cKDTree

from grasp_gen_core.errors import InputError
from grasp_gen_core.objects.cleaning import FEWEST_POINTS
from grasp_gen_core.objects.sampling import origin_may_be_camera
from grasp_gen_core.perception.parts import find_things
from grasp_gen_core.perception.plane import Plane, Support, find_support, tolerance

NOTHING, PLANE, FIRST_OBJECT = 0, 1, 2  # labels
FARTHEST = 10.0  # metres from a scene's middle: what lies further off is no part of it
PITCH, SPACINGS = 0.005, 1.5  # metres, and point spacings, between the places of a scene
SAMPLE = 512  # points that tell the spacing
OVERHANG = 0.1  # metres that what stands on the plane may lean out of its outline
HIGHEST, LARGEST = 0.6, 0.6  # metres above the plane, and across, of what a hand may hold
LOWEST = 0.012  # metres that what isn't the plane itself rises above it somewhere
AIM = 0.05  # metres beside an object's seen points that one may point
WITHIN = 0.8  # of such a part, in an object's outline


@dataclass(frozen=True)
class Segmentation:
    """What is what in a scene.

    Args:
        points: (..., 3) the scene, metres, as it was given.
        labels: (...) int32 of each point: 0 nothing, 1 the supporting plane, 2, 3, ... objects.
        plane: on which the objects stand, its normal up, in the scene's frame; None without one.
        viewpoint: (3,) where the camera stood, None where that isn't known.
    """

    points: np.ndarray
    labels: np.ndarray
    plane: Plane | None
    viewpoint: np.ndarray | None

    @property
    def numbers(self) -> list[int]:
        """The objects' labels, in order."""
        found = np.flatnonzero(np.bincount(self.labels.ravel()))
        return found[found >= FIRST_OBJECT].tolist()

    def object(self, number: int) -> np.ndarray:
        """(N, 3) the points of an object, by its label."""
        return self.points[self.labels == number]

    def at(self, place: np.ndarray) -> int:
        """The label of the object that is seen at a place (3,), or nearest to it.

        Raises:
            InputError: if none is within 5 cm.
        """
        found = self.labels >= FIRST_OBJECT
        distance = np.linalg.norm(self.points[found] - place, axis=-1)
        nearest = distance.min(initial=np.inf)
        if not nearest <= AIM:
            raise InputError(
                f"nothing at {np.round(place, 3).tolist()}: the nearest of {len(self.numbers)} "
                f"objects is {nearest:.3f} m away, accepted are {AIM} m"
            )
        return int(self.labels[found][distance.argmin()])

    def moved(self, pose: np.ndarray) -> Segmentation:
        """The same in another frame, in which this one's has the pose (4, 4)."""
        turn, shift = pose[:3, :3], pose[:3, 3]
        plane, viewpoint = self.plane, self.viewpoint
        if plane is not None:
            normal = turn @ plane.normal
            plane = Plane(normal, plane.offset + float(normal @ shift))
        if viewpoint is not None:
            viewpoint = turn @ viewpoint + shift
        return Segmentation(self.points @ turn.T + shift, self.labels, plane, viewpoint)


def segment(
    points: np.ndarray,
    viewpoint: np.ndarray | None = None,
    up: np.ndarray | None = None,
    region: np.ndarray | None = None,
) -> Segmentation:
    """The supporting plane and the objects on it; without a plane, all that hangs together.

    What is seen is thinned to places 5 mm apart. Of the large planes that is the supporting one on
    which most things stand; what is above it, within its outline, is parted where surfaces meet at
    concave edges or are in steps (see `parts`). What is 0.6 m high or large and more is no object,
    nor what rises less than 12 mm above the plane. Objects are numbered by the places seen of them.

    Args:
        points: (N, 3), or (H, W, 3) of an image, metres; NaN or 0 0 0 where nothing was seen.
        viewpoint: (3,) where the camera stood; None takes the origin, if no point is near it.
        up: (3,) what is up, to within 20 degrees of the plane's normal; None: the camera is above.
        region: (2, 3) lowest and highest corner of the box to look at; None is everywhere.

    Raises:
        InputError: if these have other shapes, aren't finite numbers, or fewer than 64 points are
            left to look at.
    """
    points = np.asarray(points)
    if points.dtype.kind not in "fiu" or points.ndim not in (2, 3) or points.shape[-1] != 3:
        raise InputError(f"points: shape {points.shape}, type {points.dtype}, accepted are numbers "
                         "of shape (N, 3) or (H, W, 3)")  # fmt: skip
    viewpoint, up = _vector(viewpoint, "viewpoint"), upwards(up)
    flat = points.reshape(-1, 3).astype(np.float64)
    valid = _valid(flat, region)
    flat = flat[valid]
    if viewpoint is None and origin_may_be_camera(flat):
        viewpoint = np.zeros(3)
    origin = np.median(flat, axis=0)
    places, pitch, place = thin_out(flat - origin)
    eye = None if viewpoint is None else viewpoint - origin
    support = find_support(places, eye, up)
    number, plane = _numbers(places, pitch, support, eye), None
    if support is not None:
        normal, offset = support.plane
        plane = Plane(normal, offset + float(normal @ origin))
    labels = np.full(len(valid), NOTHING, np.int32)
    labels[valid] = number[place]
    return Segmentation(points, labels.reshape(points.shape[:-1]), plane, viewpoint)


def upwards(given: np.ndarray | None) -> np.ndarray | None:
    """(3,) unit vector of what is said to be up; None where nothing is.

    Raises:
        InputError: if it isn't three finite numbers, or all are 0.
    """
    up = _vector(given, "up")
    return None if up is None else up / np.linalg.norm(up)


def _vector(given: np.ndarray | None, name: str) -> np.ndarray | None:
    if given is None:
        return None
    vector = np.asarray(given, np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all() or (name == "up" and not vector.any()):
        raise InputError(f"{name}: {given!r}, accepted are three finite numbers, not all 0")
    return vector


def _valid(points: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    """(N,) which of the points (N, 3) are to be looked at."""
    valid = np.isfinite(points).all(axis=1) & (points != 0).any(axis=1)
    if region is not None:
        region = np.asarray(region, np.float64)
        if region.shape != (2, 3) or not (region[0] < region[1]).all():
            raise InputError(f"region: {region.tolist()}, accepted are a lower and a higher corner")
        with np.errstate(invalid="ignore"):
            valid &= ((points > region[0]) & (points < region[1])).all(axis=1)
    if valid.any():
        seen = points[valid]
        valid[valid] = (np.abs(seen - np.median(seen, axis=0)) < FARTHEST).all(axis=1)
    if (left := np.count_nonzero(valid)) < FEWEST_POINTS:
        raise InputError(
            f"points: {left} finite ones in the region and within {FARTHEST:g} m of their middle, "
            f"accepted are at least {FEWEST_POINTS}, in metres"
        )
    return valid


def thin_out(points: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Middles of the points in the cells of a grid.

    Args:
        points: (N, 3) metres.

    Returns:
        (M, 3) places; the grid's pitch, 5 mm or what keeps the places of a sparse cloud linked;
        (N,) the place that each point is part of.
    """
    some = np.random.default_rng(0).integers(len(points), size=SAMPLE)
    spacing = np.median(cKDTree(points).query(points[some], k=[2])[0])
    pitch = max(PITCH, SPACINGS * float(spacing))
    cells = np.floor(points / pitch).astype(np.int64)
    cells -= cells.min(axis=0)
    size = cells.max(axis=0) + 1
    key = (cells[:, 0] * size[1] + cells[:, 1]) * size[2] + cells[:, 2]
    _, place, counts = np.unique(key, return_inverse=True, return_counts=True)
    places = np.stack([np.bincount(place, axis) / counts for axis in points.T], axis=1)
    return places, pitch, place


def _numbers(
    places: np.ndarray, pitch: float, support: Support | None, eye: np.ndarray | None
) -> np.ndarray:
    """(M,) label of each place (M, 3)."""
    number = np.full(len(places), NOTHING)
    free = np.ones(len(places), bool)
    plane = None
    if support is not None:
        plane, allowed = support.plane, tolerance(places, eye)
        height, beyond = plane.height(places), support.beyond(places)
        number[(np.abs(height) < allowed) & (beyond < pitch)] = PLANE
        free = (height > allowed) & (height < HIGHEST) & (beyond < OVERHANG) & ~support.walls
    thing = find_things(places[free], pitch, plane, eye)
    count = np.bincount(thing[thing >= 0])
    kept = []
    for one in np.argsort(-count, kind="stable"):
        own = places[free][thing == one]
        is_object = np.ptp(own, axis=0).max() < LARGEST
        if support is not None:
            is_object &= plane.height(own).max() > LOWEST and np.median(support.beyond(own)) < 0
        if is_object:
            kept.append(one)
    labels = np.full(len(count) + 1, NOTHING)  # the last is for what is no thing
    labels[kept] = FIRST_OBJECT + np.arange(len(kept))
    number[free] = labels[thing]
    return number if plane is None else _with_floors(places, pitch, number, plane)


def _with_floors(places: np.ndarray, pitch: float, number: np.ndarray, plane: Plane) -> np.ndarray:
    """Labels (M,) in which a vessel's floor, which is as low as the plane, is the vessel's.

    It is a part of the plane that objects cut off from the rest, in the outline of one of them.
    """
    on, flat = np.flatnonzero(number == PLANE), plane.across(places)
    cells = np.floor((flat[on] - flat[on].min(axis=0)) / pitch).astype(int)
    image = np.zeros(cells.max(axis=0) + 1, bool)
    image[tuple(cells.T)] = True
    part = ndimage.label(image, np.ones((3, 3)))[0][tuple(cells.T)]
    size = np.bincount(part)
    island = part != size.argmax()
    on, part, number = on[island], part[island], number.copy()
    for one in range(FIRST_OBJECT, number.max() + 1):
        try:
            sides = ConvexHull(flat[number == one]).equations
        except QhullError:  # all in a line
            continue
        inside = (flat[on] @ sides[:, :2].T + sides[:, 2]).max(axis=1, initial=-np.inf) < 0
        share = np.bincount(part, inside, len(size)) / size.clip(1)
        number[on[share[part] > WITHIN]] = one
    return number
