"""Random household objects, one function per family.

Sizes follow what shops sell (a drink can is 66 mm wide, a mug holds a quarter of a litre); no
object is modelled on a particular scan. Every mesh is watertight, in metres and stands along z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

SEGMENTS = 48  # around a turned part


def make_object(family: str, seed: int) -> trimesh.Trimesh:
    """One random object of a family.

    Args:
        family: one of FAMILIES.
        seed: same family and seed, same mesh.

    Returns:
        A watertight mesh, metres, z up, centred at the middle of its bounding box.

    Raises:
        ValueError: if the family is unknown.
    """
    if family not in _MAKERS:
        raise ValueError(f"family: {family!r}, accepted are {', '.join(FAMILIES)}")
    mesh = _MAKERS[family](np.random.default_rng([seed, *family.encode()]))
    return mesh.apply_translation(-mesh.bounds.mean(axis=0))


def _box(rng: Generator) -> trimesh.Trimesh:
    """Cartons and blocks, from a matchbox to a cereal box."""
    extents = np.sort(np.exp(rng.uniform(np.log(0.018), np.log(0.2), 3)))
    extents[0] = min(extents[0], 0.08)  # what no hand spans isn't grasped
    return _round_box(rng.permutation(extents), rng.uniform(0.02, 0.15) * extents[0])


def _slab(rng: Generator) -> trimesh.Trimesh:
    """Phones, remote controls, card boxes, books, soap."""
    extents = [rng.uniform(0.1, 0.22), rng.uniform(0.035, 0.13), rng.uniform(0.007, 0.035)]
    return _round_box(extents, rng.uniform(0.1, 0.45) * extents[2])


def _can(rng: Generator) -> trimesh.Trimesh:
    """Drink, food and fish cans with rims and sunken lids; also oval and square ones."""
    radius, height = rng.uniform(0.024, 0.052), rng.uniform(0.035, 0.17)
    rim, depth = rng.uniform(0.0006, 0.0014), rng.uniform(0.002, 0.006)
    half = [(0, depth), (radius - 2 * rim, depth), (radius - rim, 0), (radius + rim, 0)]
    half += [(radius + rim, 2 * rim), (radius, 4 * rim)]
    corners = np.array(half + [(r, height - z) for r, z in half[::-1]])
    mesh = _revolve(_fillet(corners, rim))
    return _oval(mesh, rng.uniform(0.6, 1), rng.uniform(2, 4)) if rng.random() < 0.25 else mesh


def _bottle(rng: Generator) -> trimesh.Trimesh:
    """Drink, squeeze, shampoo and spray bottles with a cap."""
    radius, height = rng.uniform(0.024, 0.045), rng.uniform(0.13, 0.29)
    neck, cap = rng.uniform(0.011, 0.017), rng.uniform(0.013, 0.035)
    shoulder = height * rng.uniform(0.55, 0.8)
    waist = radius * (rng.uniform(0.75, 1) if rng.random() < 0.5 else 1)
    body = [(0, 0.003), (0.7 * radius, 0), (radius, 0.0), (radius, 0.25 * shoulder)]
    body += [(waist, 0.6 * shoulder), (radius, shoulder)]
    body += [(rng.uniform(neck, radius), (shoulder + height) / 2), (neck, height)]
    body = _revolve(_fillet(np.array(body + [(0, height)]), rng.uniform(0.004, 0.02)))
    if rng.random() < 0.6:
        body = _oval(body, rng.uniform(0.55, 1), rng.uniform(2, 5))
    top = neck * rng.uniform(0.6, 1.3)
    lid = [(0, -0.004), (1.15 * neck, -0.004), (top, cap), (0, cap)]
    lid = _revolve(_fillet(np.array(lid), 0.002)).apply_translation([0, 0, height])
    return _union(body, lid)


def _jar(rng: Generator) -> trimesh.Trimesh:
    """Jam and spice jars, tubs and pill boxes with a wide lid."""
    radius, height = rng.uniform(0.02, 0.048), rng.uniform(0.05, 0.15)
    neck, lid = radius * rng.uniform(0.75, 1), rng.uniform(0.012, 0.025)
    outer = neck * rng.uniform(1.03, 1.12)
    belly = radius * rng.uniform(1, 1.15)
    corners = [(0, 0.003), (0.8 * radius, 0), (radius, 0), (belly, 0.5 * height)]
    corners += [(radius, 0.85 * height), (neck, height), (neck, height + 0.004)]
    corners += [(outer, height + 0.004), (outer, height + lid), (0, height + lid)]
    mesh = _revolve(_fillet(np.array(corners), rng.uniform(0.002, 0.01)))
    return _oval(mesh, 1, rng.uniform(2.5, 6)) if rng.random() < 0.3 else mesh


def _mug(rng: Generator) -> trimesh.Trimesh:
    """Mugs: hollow, with a handle one can put fingers through."""
    radius, height = rng.uniform(0.033, 0.047), rng.uniform(0.075, 0.115)
    foot = radius * rng.uniform(0.75, 1.02)
    bulge = radius * rng.uniform(0.97, 1.08)
    outer = [(foot, 0), (bulge, 0.45 * height), (radius, height)]
    mesh, radius_at = _vessel(outer, rng.uniform(0.0025, 0.005))
    high, low = height * rng.uniform(0.75, 0.88), height * rng.uniform(0.15, 0.3)
    handle = _handle(rng, radius_at, high, low, rng.uniform(0.028, 0.042), 0.0042)
    return _union(mesh, handle)


def _pitcher(rng: Generator) -> trimesh.Trimesh:
    """Jugs and measuring cups: hollow, with a large handle and a spout."""
    radius, height = rng.uniform(0.045, 0.07), rng.uniform(0.14, 0.24)
    outer = [(radius * rng.uniform(0.7, 1), 0), (radius * rng.uniform(1, 1.15), 0.4 * height)]
    outer += [(radius * rng.uniform(0.75, 1), 0.8 * height), (radius, height)]
    mesh, radius_at = _vessel(outer, rng.uniform(0.003, 0.0045))
    high, low = height * rng.uniform(0.8, 0.9), height * rng.uniform(0.2, 0.4)
    mesh = _union(mesh, _handle(rng, radius_at, high, low, rng.uniform(0.04, 0.055), 0.006))
    x, _, z = mesh.vertices.T
    lip = np.clip((z / height - 0.75) / 0.25, 0, 1) ** 2 * np.clip(-x / radius - 0.4, 0, 1) ** 1.5
    mesh.vertices[:, 0] -= rng.uniform(0.03, 0.06) * lip
    return mesh


def _cup(rng: Generator) -> trimesh.Trimesh:
    """Tumblers, beakers and paper cups; a third of them on a stem, as wine glasses are."""
    radius, height = rng.uniform(0.028, 0.045), rng.uniform(0.08, 0.15)
    foot = radius * rng.uniform(0.65, 1)
    outer = [(foot, 0), (radius * rng.uniform(0.9, 1.05), 0.5 * height), (radius, height)]
    mesh, _ = _vessel(outer, rng.uniform(0.0018, 0.004))
    if rng.random() < 0.67:
        return mesh
    stem, length, base = rng.uniform(0.003, 0.006), rng.uniform(0.04, 0.09), 0.8 * radius
    corners = [
        (0, 0),
        (base, 0),
        (base, 0.003),
        (stem, 0.01),
        (stem, length),
        (foot, length + 0.01),
    ]
    foot_and_stem = _revolve(_fillet(np.array(corners + [(0, length + 0.01)]), 0.004))
    return _union(mesh.apply_translation([0, 0, length + 0.0085]), foot_and_stem)


def _bowl(rng: Generator) -> trimesh.Trimesh:
    """Cereal bowls and dessert dishes."""
    radius = rng.uniform(0.05, 0.085)
    height = radius * rng.uniform(0.5, 0.95)
    foot = radius * rng.uniform(0.35, 0.6)
    outer = [(foot, 0), (foot, 0.006), (radius * rng.uniform(0.75, 0.9), 0.4 * height)]
    return _vessel([*outer, (radius, height)], rng.uniform(0.0025, 0.0045))[0]


def _hammer(rng: Generator) -> trimesh.Trimesh:
    """Hammers and mallets, lying along x."""
    length, thick = rng.uniform(0.2, 0.3), rng.uniform(0.011, 0.017)
    t = np.linspace(0, 1, 30)
    width = thick * (1 - rng.uniform(0.1, 0.35) * np.sin(np.pi * t) ** 2)
    width *= _round_ends(t, length, thick)
    path = np.stack([length * t, 0 * t], axis=1)
    handle = _tube(path, np.stack([width, width * rng.uniform(0.65, 0.95)], axis=1))
    head, half = rng.uniform(0.07, 0.12), rng.uniform(0.012, 0.022)
    neck = half * rng.uniform(0.7, 0.95)
    corners = [(0, 0), (half, 0), (half, 0.25 * head), (neck, 0.32 * head), (neck, 0.6 * head)]
    corners += [(half * rng.uniform(0.5, 1), head), (0, head)]
    block = _oval(_revolve(_fillet(np.array(corners), 0.002)), 1, rng.uniform(2, 6))
    block.apply_translation([0.95 * length, 0, -0.45 * head])
    return _union(handle, block)


def _screwdriver(rng: Generator) -> trimesh.Trimesh:
    """Screwdrivers, files and brushes: a fat grip with a thin shaft, lying along x."""
    grip, thick = rng.uniform(0.07, 0.12), rng.uniform(0.01, 0.018)
    shaft, thin = rng.uniform(0.05, 0.15), rng.uniform(0.002, 0.0045)
    waist = thick * rng.uniform(0.6, 0.9)
    corners = [(0, 0), (thick, 0), (thick, 0.6 * grip), (waist, 0.8 * grip), (thick, 0.92 * grip)]
    corners += [(0.7 * thick, grip), (thin, grip), (thin, grip + shaft), (0, grip + shaft)]
    mesh = _revolve(_fillet(np.array(corners), rng.uniform(0.003, 0.008)))
    lobes, depth = rng.integers(4, 9), rng.uniform(0, 0.08)
    angle = np.arctan2(mesh.vertices[:, 1], mesh.vertices[:, 0])
    is_grip = mesh.vertices[:, 2] < 0.75 * grip
    mesh.vertices[:, :2] *= (1 - depth * is_grip * (1 + np.cos(lobes * angle)))[:, None]
    return _lie_down(mesh)


def _drill(rng: Generator) -> trimesh.Trimesh:
    """Drills, hair dryers and glue guns: a barrel, a pistol grip, sometimes a battery."""
    length, radius = rng.uniform(0.12, 0.2), rng.uniform(0.022, 0.033)
    nose = radius * rng.uniform(0.4, 0.8)
    corners = [(0, 0), (radius, 0), (radius, 0.6 * length), (nose, 0.75 * length)]
    corners += [(nose, length), (0, length)]
    barrel = _lie_down(_revolve(_fillet(np.array(corners), 0.008)))
    grip, lean = rng.uniform(0.09, 0.12), rng.uniform(0, 0.3)
    t = np.linspace(0, 1, 20)
    wide, narrow = rng.uniform(0.017, 0.023), rng.uniform(0.014, 0.018)
    x0 = length * rng.uniform(0.2, 0.35)
    path = np.stack([x0 - lean * grip * t, -grip * t], axis=1)
    swell = 1 + rng.uniform(0.05, 0.15) * np.cos(2 * np.pi * t)
    parts = [barrel, _tube(path, np.array([wide, narrow]) * swell[:, None])]
    trigger = _round_box([0.016, 0.012, 0.025], 0.004)
    parts.append(trigger.apply_translation([x0 + wide, 0, -radius - 0.01]))
    if rng.random() < 0.6:
        battery = _round_box([rng.uniform(0.06, 0.1), rng.uniform(0.045, 0.065), 0.03], 0.006)
        parts.append(battery.apply_translation([x0 - lean * grip, 0, -grip]))
    return _union(*parts)


def _pen(rng: Generator) -> trimesh.Trimesh:
    """Pens, markers, candles and glue sticks, lying along x; markers have a clip."""
    length, radius = rng.uniform(0.09, 0.18), np.exp(rng.uniform(np.log(0.0038), np.log(0.014)))
    cap = length * rng.uniform(0.25, 0.45)
    corners = [(0, 0), (radius, 0), (radius, length - cap), (1.1 * radius, length - cap)]
    tip = radius * rng.uniform(0.4, 1)
    corners += [(1.1 * radius, 0.85 * length), (tip, length), (0, length)]
    mesh = _revolve(_fillet(np.array(corners), 0.3 * radius))
    if rng.random() < 0.5:
        clip = _round_box([0.003, 0.004, 0.9 * cap], 0.001)
        mesh = _union(mesh, clip.apply_translation([1.1 * radius + 0.001, 0, length - 0.7 * cap]))
    return _lie_down(mesh)


def _scissors(rng: Generator) -> trimesh.Trimesh:
    """Scissors and pliers, closed or ajar, lying flat, with two finger holes."""
    blade, arm = rng.uniform(0.06, 0.11), rng.uniform(0.03, 0.05)
    thick, opening = rng.uniform(0.0035, 0.006), rng.uniform(0.02, 0.2)
    halves = []
    for side in (1, -1):
        long, wide = rng.uniform(0.015, 0.03), rng.uniform(0.011, 0.015)
        t = np.linspace(0, 1, 24)
        shank = np.stack([-arm + (arm + blade) * t, side * 0.006 * (0.4 - t)], axis=1)
        taper = np.interp(t, [0, 0.3, 0.45, 1], [0.005, 0.006, 0.007, 0.0012])
        flat = np.full_like(t, 0.6 * thick)
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        loop = np.stack([long * np.cos(angle) - arm - long, wide * np.sin(angle)], axis=1)
        loop[:, 1] += side * (wide - 0.002)
        ring = _tube(loop, np.tile([0.0035, thick], (40, 1)), closed=True)
        half = _union(_tube(shank, np.stack([taper, flat], axis=1)), ring)
        half.apply_transform(trimesh.transformations.rotation_matrix(side * opening, [0, 1, 0]))
        halves.append(half.apply_translation([0, 0.3 * side * thick, 0]))
    pivot = trimesh.creation.cylinder(0.004, 2.6 * thick, sections=24)
    flat = trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0])
    mesh = _union(*halves, pivot.apply_transform(flat))
    return mesh.apply_transform(flat)


def _fruit(rng: Generator) -> trimesh.Trimesh:
    """Apples, pears, lemons, eggs and potatoes: round with a dimple, a neck or a nose."""
    radius, stretch = rng.uniform(0.02, 0.045), rng.uniform(0.85, 1.35)
    t = np.linspace(0, np.pi, 40)
    neck = max(0, rng.uniform(-0.4, 0.65))
    dimple = rng.uniform(0, 0.25) * (1 - neck)
    r = np.sin(t) * (1 - neck * (0.5 - 0.5 * np.cos(t)) ** 1.5)
    z = -np.cos(t) * stretch * (1 - dimple * np.exp(-((np.sin(t) / 0.35) ** 2)))
    profile = radius * np.stack([r, z], axis=1)
    profile[[0, -1], 0] = 0
    mesh = _revolve(profile)
    waves = rng.normal(size=(4, 3)) * 0.6 / radius
    bumps = np.cos(mesh.vertices @ waves.T + rng.uniform(0, 2 * np.pi, 4)).sum(axis=1)
    mesh.vertices *= 1 + rng.uniform(0, 0.03) * bumps[:, None]
    return mesh


def _banana(rng: Generator) -> trimesh.Trimesh:
    """Bananas, cucumbers, croissants: a bent, tapered roll, lying."""
    length, thick = rng.uniform(0.12, 0.22), rng.uniform(0.014, 0.024)
    bend = rng.uniform(0.2, 1.6)  # radians of arc
    t = np.linspace(0, 1, 48)
    angle = bend * (t - 0.5)
    path = length / bend * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    taper = 1 - rng.uniform(0.2, 0.6) * np.abs(2 * t - 1) ** rng.uniform(2, 4)
    width = thick * taper * _round_ends(t, length, 0.5 * thick)
    mesh = _tube(path, np.stack([width, width * rng.uniform(0.85, 1)], axis=1), sides=24)
    return mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))


def _composite(rng: Generator) -> trimesh.Trimesh:
    """Toys, fittings and ornaments: two to four simple bodies grown into each other."""
    parts: list[trimesh.Trimesh] = []
    for _ in range(rng.integers(2, 5)):
        a, b, c = rng.uniform(0.015, 0.06, 3)
        match rng.integers(4):
            case 0:
                part = _round_box([2 * a, 1.5 * b, 1.5 * c], 0.2 * min(a, b, c))
            case 1:
                part = trimesh.creation.cylinder(0.7 * a, 2 * b, sections=SEGMENTS)
            case 2:
                part = trimesh.creation.capsule(2 * a, 0.5 * b, count=[24, 16])
            case _:
                part = trimesh.creation.icosphere(3, 0.6 * a)
        turn = np.eye(4)
        turn[:3, :3] = Rotation.random(rng=rng).as_matrix()
        part.apply_transform(turn)
        part.apply_translation(-part.bounds.mean(axis=0))
        if parts:  # the middle of each part lies on the surface of the one before
            part.apply_translation(trimesh.sample.sample_surface(parts[-1], 1, seed=rng)[0][0])
        parts.append(part)
    return _union(*parts)


_MAKERS: dict[str, Callable[[Generator], trimesh.Trimesh]] = {
    "box": _box,
    "slab": _slab,
    "can": _can,
    "bottle": _bottle,
    "jar": _jar,
    "mug": _mug,
    "pitcher": _pitcher,
    "cup": _cup,
    "bowl": _bowl,
    "hammer": _hammer,
    "screwdriver": _screwdriver,
    "drill": _drill,
    "pen": _pen,
    "scissors": _scissors,
    "fruit": _fruit,
    "banana": _banana,
    "composite": _composite,
}
FAMILIES: tuple[str, ...] = tuple(_MAKERS)


def _union(*parts: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.boolean.union(parts, engine="manifold")


def _round_box(extents: np.ndarray | list[float], radius: float) -> trimesh.Trimesh:
    """A box with rounded edges."""
    mesh = trimesh.creation.box([2, 2, 2]).subdivide().subdivide().subdivide()
    cube = mesh.vertices
    # The inner half of each cube face becomes the flat side, the rest an eighth of a turn.
    flat = np.clip(2 * cube, -1, 1)
    ball = 2 * cube - flat
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    mesh.vertices = flat * (np.asarray(extents) / 2 - radius) + radius * ball
    return mesh


def _fillet(corners: np.ndarray, radius: float, steps: int = 5) -> np.ndarray:
    """Polyline (K, 2) with its corners rounded by parabolas, at most to the edges' middles."""
    t = np.linspace(0, 1, steps)[:, None]
    edges = np.diff(corners, axis=0)
    lengths = np.linalg.norm(edges, axis=1)
    rounded = [corners[:1]]
    for i, corner in enumerate(corners[1:-1]):
        if edges[i] @ edges[i + 1] > 0.95 * lengths[i] * lengths[i + 1]:  # smooth already
            rounded.append(corner[None])
            continue
        start = corner - edges[i] * min(0.49, radius / lengths[i])
        end = corner + edges[i + 1] * min(0.49, radius / lengths[i + 1])
        rounded.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.concatenate([*rounded, corners[-1:]])


def _revolve(profile: np.ndarray) -> trimesh.Trimesh:
    """Turn a profile (K, 2) of (radius, z), from axis to axis, around z."""
    # In millimetres, because trimesh drops triangles below 1e-8 square units.
    mesh = trimesh.creation.revolve(1000 * profile, sections=SEGMENTS)
    return mesh.apply_scale(1e-3)


def _oval(mesh: trimesh.Trimesh, flat: float, power: float) -> trimesh.Trimesh:
    """Press a turned mesh: y shrinks by `flat`, circles become superellipses of that power."""
    x, y = mesh.vertices[:, 0], mesh.vertices[:, 1]
    angle = np.arctan2(y, x)
    norm = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (1 / power)
    mesh.vertices[:, :2] *= np.array([1, flat]) / norm[:, None]
    return mesh


def _lie_down(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Turn z to x."""
    return mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [0, 1, 0]))


def _tube(
    path: np.ndarray, widths: np.ndarray, closed: bool = False, sides: int = 16
) -> trimesh.Trimesh:
    """Sweep an ellipse along a path in the x-z plane.

    Args:
        path: (K, 2) x and z, metres.
        widths: (K, 2) half axes in the plane and across it (along y), metres.
        closed: a ring without ends.
        sides: of the ellipse.
    """
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    inward = widths[:, :1] * np.cos(angle)
    x = path[:, :1] - inward * ahead[:, 1:]
    z = path[:, 1:] + inward * ahead[:, :1]
    y = widths[:, 1:] * np.sin(angle)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)

    ring = np.arange(len(path) * sides).reshape(len(path), sides)
    here, there = (ring, np.roll(ring, -1, axis=0)) if closed else (ring[:-1], ring[1:])
    left, right = np.roll(here, -1, axis=1), np.roll(there, -1, axis=1)
    faces = [(here, there, right), (here, right, left)]
    if not closed:
        middles = np.insert(path[[0, -1]], 1, 0, axis=1)
        first, last = np.full((2, sides), [[len(vertices)], [len(vertices) + 1]])
        vertices = np.concatenate([vertices, middles])
        faces += [(first, here[0], left[0]), (last, right[-1], there[-1])]
    faces = [np.stack(corners, axis=-1).reshape(-1, 3) for corners in faces]
    mesh = trimesh.Trimesh(vertices, np.concatenate(faces))
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def _round_ends(t: np.ndarray, length: float, radius: float) -> np.ndarray:
    """(K,) factor that rounds the ends of a tube; t in [0, 1] runs along it."""
    into = np.clip(np.minimum(t, 1 - t) * length / radius, 0, 1)
    return np.sqrt(1 - (1 - into) ** 2).clip(0.3)


def _vessel(
    knots: list[tuple[float, float]], wall: float
) -> tuple[trimesh.Trimesh, PchipInterpolator]:
    """A hollow turned vessel.

    Args:
        knots: (radius, z) of the outside from foot to rim, metres.
        wall: its thickness, metres.

    Returns:
        The mesh, and the outer radius as a function of z.
    """
    radius, z = np.array(knots).T
    radius_at = PchipInterpolator(z, radius)
    z = np.linspace(0, z[-1], 24)
    outer = np.stack([radius_at(z), z], axis=1)
    along = np.gradient(outer, axis=0)
    left = np.stack([-along[:, 1], along[:, 0]], axis=1)
    inner = outer + wall * left / np.linalg.norm(left, axis=1, keepdims=True)
    inner[-1, 1] = outer[-1, 1]
    inner = inner[inner[:, 1] > 1.5 * wall]
    floor = [(inner[0, 0], wall), (0, wall)]
    profile = np.concatenate([[(0, 0)], outer, inner[::-1], floor])
    return _revolve(_fillet(profile, 0.45 * wall)), radius_at


def _handle(
    rng: Generator,
    radius_at: PchipInterpolator,
    high: float,
    low: float,
    reach: float,
    thick: float,
) -> trimesh.Trimesh:
    """A handle on the +x side of a vessel, both ends in its wall, `reach` metres out."""
    ends = radius_at([high, low]) - 0.001
    out = radius_at(high) + reach
    lower = out - reach * rng.uniform(0, 0.4)
    lift = rng.uniform(-0.1, 0.1) * (high - low)
    corners = [(ends[0], high), (out, high + lift), (lower, low), (ends[1], low)]
    path = _fillet(np.array(corners), rng.uniform(0.4, 0.9) * reach, steps=12)
    across = thick * rng.uniform(1, 1.8)
    return _tube(path, np.tile([thick, across], (len(path), 1)))
