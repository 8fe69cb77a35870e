"""Tools, food, toys and small things. Tables hold sizes of real products in millimetres."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from grasp_gen_core.objects.procedural.shapes import (
    SEGMENTS,
    Sizes,
    difference,
    disc,
    draw,
    lie_down,
    oval,
    revolve,
    round_box,
    round_ends,
    tube,
    turn,
    union,
)

# Long, wide, thick.
SLABS: Sizes = {
    "phone": (147, 71, 8.2),
    "large phone": (162, 77, 9),
    "remote": (172, 46, 20),
    "long remote": (218, 48, 22),
    "paperback": (180, 112, 22),
    "notebook": (142, 90, 14),
    "book": (206, 130, 26),
    "soap": (88, 58, 28),
    "chocolate": (160, 78, 9),
    "playing cards": (92, 64, 18),
    "wallet": (110, 88, 19),
    "calculator": (155, 80, 15),
    "power bank": (140, 68, 16),
    "glasses case": (160, 62, 38),
    "sponge": (108, 70, 30),
    "film case": (190, 135, 14),
}
BLOCKS: Sizes = {
    "die": (16, 16, 16),
    "toy cube": (30, 30, 30),
    "large toy cube": (40, 40, 40),
    "puzzle cube": (57, 57, 57),
    "eraser": (43, 19, 12),
    "domino": (48, 24, 9),
    "toy brick": (32, 16, 11),
    "building block": (60, 30, 15),
    "sharpener": (26, 18, 14),
    "plug": (40, 36, 24),
    "ring box": (52, 48, 38),
}
# Long, wide, thick, hole's diameter.
CARDS: Sizes = {
    "bank cards": (86, 54, 2.2, 0),
    "luggage tag": (104, 62, 3, 7),
    "coaster": (95, 95, 4, 0),
    "coin": (26, 26, 2.4, 0),
    "medal": (60, 60, 4, 5),
    "ruler": (172, 30, 2.5, 4),
    "name plate": (75, 26, 2.5, 0),
    "tile": (100, 100, 6, 0),
    "key": (56, 25, 2.6, 7),
    "large key": (72, 30, 3.2, 9),
}
# Outside, inside, high.
RINGS: Sizes = {
    "packing tape": (104, 77, 50),
    "masking tape": (100, 77, 25),
    "sticky tape": (62, 26, 19),
    "insulation tape": (64, 33, 19),
    "toilet roll": (108, 42, 99),
    "kitchen roll": (112, 42, 228),
    "napkin ring": (46, 36, 30),
    "bangle": (78, 64, 12),
    "teething ring": (80, 52, 15),
    "napkins": (66, 25, 60),
    "twine": (75, 22, 90),
}
# Long, grip thickness, head.
HAMMERS: Sizes = {
    "claw hammer": (310, 30, 108),
    "joiner's hammer": (285, 28, 100),
    "tack hammer": (245, 23, 82),
    "mallet": (270, 29, 115),
    "toy hammer": (200, 24, 80),
    "meat hammer": (228, 27, 68),
}
# Grip, its thickness, shaft, its thickness.
SCREWDRIVERS: Sizes = {
    "slotted": (102, 31, 125, 6),
    "cross": (108, 34, 150, 8),
    "small": (82, 22, 75, 4),
    "precision": (80, 16, 50, 3.5),
    "stubby": (58, 33, 40, 6),
    "file": (100, 26, 160, 9),
    "awl": (78, 30, 72, 4),
}
# Barrel, its diameter, grip.
DRILLS: Sizes = {
    "cordless drill": (178, 58, 112),
    "screwdriver": (150, 46, 104),
    "hair dryer": (190, 66, 112),
    "glue gun": (150, 44, 98),
    "heat gun": (200, 62, 115),
    "scanner": (125, 50, 96),
}
PENS: Sizes = {
    "pencil": (172, 7.6),
    "ballpoint": (145, 10.5),
    "felt pen": (140, 14),
    "whiteboard marker": (135, 19),
    "highlighter": (116, 21),
    "lipstick": (76, 20),
    "glue stick": (96, 27),
    "candle": (185, 22),
    "crayon": (92, 9),
    "cigar": (125, 17),
    "battery": (51, 14.5),
}
# Blades, shanks, half length and width inside a loop.
SCISSORS: Sizes = {
    "children's": (62, 34, 14, 11.5),
    "office": (82, 40, 19, 12.5),
    "household": (98, 46, 23, 13.5),
    "tailor's": (112, 50, 27, 14.5),
    "pliers": (66, 46, 26, 12.5),
}
# Diameter, high, neck and dimple as shares.
FRUIT: Sizes = {
    "apple": (75, 69, 0.1, 0.2),
    "orange": (78, 76, 0, 0.04),
    "mandarin": (60, 50, 0, 0.12),
    "lemon": (55, 75, 0.1, -0.12),
    "lime": (50, 58, 0.05, -0.08),
    "kiwi": (50, 65, 0, 0),
    "egg": (44, 57, 0.15, 0),
    "peach": (71, 69, 0.08, 0.12),
    "plum": (44, 51, 0.05, 0.06),
    "tomato": (66, 56, 0, 0.15),
    "potato": (58, 86, 0, 0),
    "onion": (72, 66, 0.12, -0.08),
    "pear": (66, 96, 0.5, 0.08),
    "avocado": (66, 102, 0.42, 0),
    "walnut": (32, 38, 0.05, -0.05),
    "strawberry": (34, 41, 0.35, 0.05),
    "pepper": (79, 92, -0.1, 0.2),
}
BALLS: Sizes = {
    "golf": (42.7,),
    "table tennis": (40,),
    "bouncy": (32,),
    "squash": (40,),
    "juggling": (63,),
    "tennis": (66.5,),
    "cricket": (72,),
    "baseball": (74.5,),
    "petanque": (76,),
    "foam": (86,),
    "softball": (97,),
    "child's": (112,),
}
# Long, thick, bent by radians.
BENT: Sizes = {
    "banana": (196, 38, 1.0),
    "small banana": (122, 30, 1.0),
    "cucumber": (245, 44, 0.25),
    "courgette": (188, 46, 0.15),
    "carrot": (165, 30, 0.12),
    "croissant": (145, 50, 1.3),
    "sausage": (130, 28, 0.5),
    "chili": (108, 18, 0.6),
    "sweet potato": (155, 56, 0.3),
}
# Long, grip wide, head long and wide, thick, head sunk.
CUTLERY: Sizes = {
    "table spoon": (200, 18, 65, 42, 3, 7),
    "tea spoon": (138, 13, 45, 29, 2.6, 5),
    "fork": (200, 18, 68, 26, 3, 4),
    "table knife": (218, 19, 110, 20, 4, 0),
    "fruit knife": (178, 20, 84, 17, 8, 0),
    "wooden spoon": (286, 13, 76, 52, 9, 4),
    "spatula": (272, 22, 92, 74, 5, 0),
    "butter spreader": (152, 16, 62, 24, 4, 0),
}
# Long, grip wide and thick, head long and wide, bristles.
BRUSHES: Sizes = {
    "toothbrush": (188, 14, 10, 28, 12, 11),
    "hair brush": (225, 26, 18, 92, 52, 16),
    "dish brush": (248, 22, 16, 58, 52, 24),
    "paint brush": (212, 26, 14, 42, 52, 2),
    "nail brush": (96, 36, 16, 84, 40, 16),
    "shoe brush": (165, 42, 22, 140, 46, 22),
}
# Long, head's and body's diameter.
FLASHLIGHTS: Sizes = {
    "pocket": (96, 26, 20),
    "two cells": (162, 34, 23),
    "bicycle": (118, 38, 30),
    "large": (246, 54, 34),
    "camping": (190, 70, 40),
}


def slab(rng: Generator) -> trimesh.Trimesh:
    """Phones, remote controls, books, soap."""
    _, extents = draw(rng, SLABS)
    return round_box(extents, rng.uniform(0.1, 0.45) * extents[2])


def block(rng: Generator) -> trimesh.Trimesh:
    """Dice, toy blocks, erasers."""
    _, extents = draw(rng, BLOCKS)
    return round_box(extents, rng.uniform(0.05, 0.2) * extents.min())


def card(rng: Generator) -> trimesh.Trimesh:
    """Cards, coins, coasters, tags and keys: thin, some with a hole."""
    name, (length, width, thick, hole) = draw(rng, CARDS)
    is_key = name.endswith("key")
    bow = width if is_key else length
    mesh = disc(bow, thick, 0.25 * thick)
    if name not in ("coin", "medal"):
        mesh = oval(mesh, width / bow, rng.uniform(2, 3) if is_key else rng.uniform(6, 12))
    if is_key:
        blade = round_box([length - 0.8 * bow, 0.35 * bow, 0.8 * thick], 0.2 * thick)
        blade.apply_translation([length / 2 - 0.1 * bow, 0, thick / 2])
        cuts = []
        for x in np.linspace(0.8 * bow, length - 0.6 * bow, 4):
            cuts.append(trimesh.creation.box([2.5, rng.uniform(3, 6), 2 * thick]))
            cuts[-1].apply_translation([x, 0.175 * bow, thick / 2])
        mesh = union(mesh, difference(blade, *cuts))
    if hole:
        drill_bit = trimesh.creation.cylinder(hole / 2, 3 * thick, sections=16)
        mesh = difference(mesh, drill_bit.apply_translation([hole - bow / 2, 0, thick / 2]))
    return mesh


def ring(rng: Generator) -> trimesh.Trimesh:
    """Rolls of tape and paper, bangles, spools."""
    _, (outer, inner, height) = draw(rng, RINGS)
    edge = rng.uniform(0.05, 0.4) * min(height, (outer - inner) / 2)
    hole = trimesh.creation.cylinder(inner / 2, 3 * height, sections=SEGMENTS)
    return difference(disc(outer, height, edge), hole)


def hammer(rng: Generator) -> trimesh.Trimesh:
    """Hammers and mallets, lying along x."""
    _, (length, grip, head) = draw(rng, HAMMERS)
    t = np.linspace(0, 1, 14)
    width = grip / 2 * (1 - rng.uniform(0.1, 0.35) * np.sin(np.pi * t) ** 2)
    width *= round_ends(t, length, grip / 2)
    path = np.stack([length * t, 0 * t], axis=1)
    shaft = tube(path, np.stack([width, width * rng.uniform(0.65, 0.95)], axis=1))
    half = head * rng.uniform(0.13, 0.2)
    neck = half * rng.uniform(0.7, 0.95)
    corners = [(0, 0), (half, 0), (half, 0.25 * head), (neck, 0.32 * head), (neck, 0.6 * head)]
    corners += [(half * rng.uniform(0.5, 1), head), (0, head)]
    iron = oval(revolve(corners, 2), 1, rng.uniform(2, 6))
    return union(shaft, iron.apply_translation([0.95 * length, 0, -0.45 * head]))


def screwdriver(rng: Generator) -> trimesh.Trimesh:
    """Screwdrivers, files and awls: a fat grip with a thin shaft, lying along x."""
    _, (grip, wide, shaft, narrow) = draw(rng, SCREWDRIVERS)
    thick, thin = wide / 2, narrow / 2
    waist = thick * rng.uniform(0.6, 0.9)
    corners = [(0, 0), (thick, 0), (thick, 0.6 * grip), (waist, 0.8 * grip), (thick, 0.92 * grip)]
    corners += [(0.7 * thick, grip), (thin, grip), (thin, grip + shaft), (0, grip + shaft)]
    mesh = revolve(corners, rng.uniform(3, 8))
    lobes, depth = rng.integers(4, 9), rng.uniform(0, 0.08)
    angle = np.arctan2(mesh.vertices[:, 1], mesh.vertices[:, 0])
    is_grip = mesh.vertices[:, 2] < 0.75 * grip
    mesh.vertices[:, :2] *= (1 - depth * is_grip * (1 + np.cos(lobes * angle)))[:, None]
    return lie_down(mesh)


def drill(rng: Generator) -> trimesh.Trimesh:
    """Drills, hair dryers and glue guns: a barrel, a pistol grip, sometimes a battery."""
    _, (length, diameter, grip) = draw(rng, DRILLS)
    radius = diameter / 2
    nose = radius * rng.uniform(0.4, 0.8)
    corners = [(0, 0), (radius, 0), (radius, 0.6 * length), (nose, 0.75 * length)]
    barrel = lie_down(revolve([*corners, (nose, length), (0, length)], 8))
    lean, t = rng.uniform(0, 0.3), np.linspace(0, 1, 10)
    wide, narrow = rng.uniform(17, 23), rng.uniform(14, 18)
    x0 = length * rng.uniform(0.2, 0.35)
    path = np.stack([x0 - lean * grip * t, -grip * t], axis=1)
    swell = 1 + rng.uniform(0.05, 0.15) * np.cos(2 * np.pi * t)
    parts = [barrel, tube(path, np.array([wide, narrow]) * swell[:, None], sides=16)]
    trigger = round_box([16, 12, 25], 4)
    parts.append(trigger.apply_translation([x0 + wide, 0, -radius - 10]))
    if rng.random() < 0.6:
        battery = round_box([rng.uniform(60, 100), rng.uniform(45, 65), 30], 6)
        parts.append(battery.apply_translation([x0 - lean * grip, 0, -grip]))
    return union(*parts)


def pen(rng: Generator) -> trimesh.Trimesh:
    """Pens, markers, candles and glue sticks, lying along x; some have a clip."""
    _, (length, diameter) = draw(rng, PENS)
    radius, cap = diameter / 2, length * rng.uniform(0.25, 0.45)
    corners = [(0, 0), (radius, 0), (radius, length - cap), (1.1 * radius, length - cap)]
    tip = radius * rng.uniform(0.4, 1)
    corners += [(1.1 * radius, 0.85 * length), (tip, length), (0, length)]
    mesh = revolve(corners, 0.3 * radius)
    if rng.random() < 0.4:
        clip = round_box([3, 4, 0.9 * cap], 1)
        mesh = union(mesh, clip.apply_translation([1.1 * radius + 1, 0, length - 0.7 * cap]))
    return lie_down(mesh)


def scissors(rng: Generator) -> trimesh.Trimesh:
    """Scissors and pliers, closed or ajar, lying flat, with two finger holes."""
    _, (blade, arm, long, wide) = draw(rng, SCISSORS)
    thick, opening = rng.uniform(3.5, 6), rng.uniform(0.02, 0.2)
    t, angle = np.linspace(0, 1, 12), np.linspace(0, 2 * np.pi, 20, endpoint=False)
    halves = []
    for side in (1, -1):
        start = -arm - 0.35 * long  # in the loop's rim
        shank = np.stack([start + (blade - start) * t, side * 6 * (0.4 - t)], axis=1)
        taper = np.interp(t, [0, 0.35, 0.5, 1], [4, 6, 7, 1.2])
        flat = np.full_like(t, 0.6 * thick)
        loop = [(long + 3.5) * (np.cos(angle) - 1) - arm, (wide + 3.5) * np.sin(angle)]
        loop = np.stack(loop, axis=1) + [0, side * (wide + 1.5)]
        half = union(
            tube(shank, np.stack([taper, flat], axis=1)), tube(loop, [3.5, thick], closed=True)
        )
        halves.append(turn(half, side * opening, [0, 1, 0]))
        half.apply_translation([0, 0.3 * side * thick, 0])
    pivot = trimesh.creation.cylinder(4, 2.6 * thick, sections=16)
    mesh = union(*halves, turn(pivot, np.pi / 2, [1, 0, 0]))
    return turn(mesh, np.pi / 2, [1, 0, 0])


def fruit(rng: Generator) -> trimesh.Trimesh:
    """Apples, pears, lemons, eggs and potatoes: round with a dimple, a neck or a nose."""
    _, (diameter, height, neck, dimple) = draw(rng, FRUIT)
    t = np.linspace(0, np.pi, 14)
    r = np.sin(t) * (1 - neck * (0.5 - 0.5 * np.cos(t)) ** 1.5)
    z = -np.cos(t) * (1 - dimple * np.exp(-((np.sin(t) / 0.35) ** 2)))
    r[[0, -1]] = 0
    mesh = revolve(np.stack([r * diameter / (2 * r.max()), z * height / np.ptp(z)], axis=1))
    waves = rng.normal(size=(4, 3)) * 1.2 / diameter
    bumps = np.cos(mesh.vertices @ waves.T + rng.uniform(0, 2 * np.pi, 4)).sum(axis=1)
    mesh.vertices *= 1 + rng.uniform(0, 0.025) * bumps[:, None]
    return mesh


def ball(rng: Generator) -> trimesh.Trimesh:
    """Balls, from table tennis to a child's."""
    _, (diameter,) = draw(rng, BALLS)
    t = np.linspace(0, np.pi, 14)
    profile = np.stack([np.sin(t), -np.cos(t)], axis=1)
    profile[[0, -1], 0] = 0
    return revolve(diameter / 2 * profile)


def banana(rng: Generator) -> trimesh.Trimesh:
    """Bananas, cucumbers, croissants: a bent, tapered roll, lying."""
    _, (length, thick, bend) = draw(rng, BENT)
    t = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 18))  # denser at the round ends
    angle = bend * (t - 0.5)
    path = length / bend * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    taper = 1 - rng.uniform(0.2, 0.6) * np.abs(2 * t - 1) ** rng.uniform(2, 4)
    width = thick / 2 * taper * round_ends(t, length, 0.25 * thick)
    mesh = tube(path, np.stack([width, width * rng.uniform(0.85, 1)], axis=1), sides=20)
    return turn(mesh, np.pi / 2, [1, 0, 0])


def cutlery(rng: Generator) -> trimesh.Trimesh:
    """Spoons, forks, knives and spatulas, lying along x."""
    name, (length, grip, long, wide, thick, sunk) = draw(rng, CUTLERY)
    t = np.linspace(0, 1, 22)
    start = 1 - long / length  # of the head
    head = np.clip((t - start) / (1 - start), 0, 1)
    if "spoon" in name:  # an egg-shaped head
        half = np.interp(t, [0, 0.03, 0.5 * start, 0.95 * start, 1], [0.7, 1, 0.7, 0.4, 0.4]) * grip
        half = np.maximum(half / 2, wide / 2 * np.sin(np.pi * head.clip(0.02, 0.94)) ** 0.6)
        half[head == 0] = np.minimum(half[head == 0], grip / 2)
    else:
        at = [0, 0.03, 0.5 * start, 0.95 * start, start + 0.2 * (1 - start), 1]
        half = np.interp(t, at, np.array([0.7, 1, 0.9, 0.5, wide / grip, wide / grip]) * grip / 2)
        half[-1] *= 0.8
    flat = thick / 2 * np.interp(t, [0, start, 1], [1, 1, 0.6 if "knife" in name else 0.8])
    mesh = tube(np.stack([length * t, 0 * t], axis=1), np.stack([flat, half], axis=1))
    if name == "fork":
        slots = []
        for y in (-0.25, 0, 0.25):
            slots.append(trimesh.creation.box([0.6 * long, 0.09 * wide, 60]))
            slots[-1].apply_translation([length - 0.25 * long, y * wide, 0])
        mesh = difference(mesh, *slots)
    # The head hangs down in the middle, upper and lower side alike, and the grip's neck is bent.
    x, y, _ = mesh.vertices.T
    into = np.clip((x - start * length) / long, 0, 1)
    mesh.vertices[:, 2] -= sunk * np.sin(np.pi * into) * (1 - (2 * y / wide) ** 2).clip(0)
    mesh.vertices[:, 2] -= 0.02 * length * np.sin(np.pi * (x / length).clip(0, 1))
    return mesh


def brush(rng: Generator) -> trimesh.Trimesh:
    """Tooth, hair, dish and paint brushes, lying along x, bristles up."""
    _, (length, grip, thick, long, wide, bristles) = draw(rng, BRUSHES)
    t = np.linspace(0, 1, 14)
    at = [0, 0.05, 0.4, 1 - long / length - 0.04, 1]
    half = np.interp(t, at, np.array([0.6, 1, rng.uniform(0.75, 1), 0.6, 0.6]) * grip / 2)
    path = np.stack([(length - 4) * t, 0 * t], axis=1)
    stick = tube(path, np.stack([half * thick / grip, half], axis=1))
    head = round_box([long, wide, 0.8 * thick], 0.3 * thick)
    head.apply_translation([length - long / 2, 0, 0])
    tuft = round_box([0.9 * long, 0.85 * wide, bristles + 0.4 * thick], 1)
    tuft.apply_translation([length - long / 2, 0, 0.2 * thick + bristles / 2])
    return union(stick, head, tuft)


def flashlight(rng: Generator) -> trimesh.Trimesh:
    """Flashlights: a long body, a wider head with a sunken glass, lying along x."""
    _, (length, head, body) = draw(rng, FLASHLIGHTS)
    wide, narrow = head / 2, body / 2
    corners = [(0, 0), (0.85 * narrow, 0), (narrow, 0.06 * length), (narrow, 0.62 * length)]
    corners += [(wide, rng.uniform(0.72, 0.82) * length), (wide, length), (0.85 * wide, length)]
    mesh = revolve([*corners, (0.8 * wide, length - 4), (0, length - 4)], 2)
    button = round_box([20, 9, 6], 2)
    return union(lie_down(mesh), button.apply_translation([0.5 * length, 0, narrow]))


def composite(rng: Generator) -> trimesh.Trimesh:
    """Toys, fittings and ornaments: two to four simple bodies grown into each other."""
    parts: list[trimesh.Trimesh] = []
    for _ in range(rng.integers(2, 5)):
        a, b, c = rng.uniform(15, 60, 3)
        match rng.integers(4):
            case 0:
                part = round_box([2 * a, 1.5 * b, 1.5 * c], 0.2 * min(a, b, c))
            case 1:
                part = trimesh.creation.cylinder(0.7 * a, 2 * b, sections=SEGMENTS)
            case 2:
                part = trimesh.creation.capsule(2 * a, 0.5 * b, count=[20, 12])
            case _:
                part = trimesh.creation.uv_sphere(0.6 * a, count=[12, 20])
        pose = np.eye(4)
        pose[:3, :3] = Rotation.random(rng=rng).as_matrix()
        part.apply_transform(pose)
        part.apply_translation(-part.bounds.mean(axis=0))
        if parts:  # the middle of each part lies on the surface of the one before
            part.apply_translation(trimesh.sample.sample_surface(parts[-1], 1, seed=rng)[0][0])
        parts.append(part)
    return union(*parts)
