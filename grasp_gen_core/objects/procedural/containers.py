"""Packages and crockery. Tables hold sizes of real products in millimetres."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.random import Generator

from grasp_gen_core.objects.procedural.shapes import (
    Sizes,
    disc,
    draw,
    fillet,
    handle,
    oval,
    revolve,
    round_box,
    tube,
    turn,
    union,
    vessel,
)

# Thick, wide, high. Broad ones are many because they are the hardest to grasp.
CARTONS: Sizes = {
    "matches": (15, 36, 53),
    "kitchen matches": (22, 65, 112),
    "toothpaste": (38, 45, 190),
    "pills": (20, 55, 96),
    "medicine": (28, 68, 110),
    "tea bags": (65, 77, 132),
    "soap": (32, 58, 92),
    "light bulb": (60, 61, 112),
    "tissues": (60, 118, 225),
    "sugar cubes": (58, 92, 128),
    "rice": (52, 108, 172),
    "cake mix": (45, 142, 200),
    "penne": (62, 148, 182),
    "crispbread": (68, 112, 238),
    "biscuits": (66, 165, 190),
    "cocoa": (62, 95, 140),
    "milk 1 l": (70, 71, 236),
    "milk 0.75 l": (70, 71, 196),
    "juice 1 l": (60, 95, 168),
    "juice 0.2 l": (38, 48, 118),
    "cereal small": (56, 190, 280),
    "cereal": (66, 193, 296),
    "cereal large": (75, 195, 304),
    "muesli": (72, 150, 236),
    "washing powder": (74, 172, 232),
    "dishwasher tabs": (72, 140, 170),
    "dog biscuits": (70, 152, 246),
}
# Wide, deep, high; oval or square where width and depth differ.
CANS: Sizes = {
    "drink 330 ml": (66, 66, 115),
    "drink 250 ml slim": (53, 53, 134),
    "drink 500 ml": (66, 66, 168),
    "food 400 g": (73, 73, 110),
    "food 800 g": (99, 99, 119),
    "food 200 g": (66, 66, 78),
    "tomato paste": (53, 53, 60),
    "pineapple": (84, 84, 85),
    "tuna": (86, 86, 37),
    "small tuna": (66, 66, 33),
    "sardines": (105, 62, 25),
    "luncheon meat": (94, 55, 66),
    "aerosol": (52, 52, 190),
    "hair spray": (57, 57, 235),
    "milk powder": (100, 100, 128),
    "olive oil": (86, 62, 180),
}
# Wide, deep, high with its cap, neck diameter.
BOTTLES: Sizes = {
    "water 0.5 l": (65, 65, 210, 28),
    "water 1.5 l": (88, 88, 320, 28),
    "water 1 l": (80, 80, 265, 28),
    "cola 0.33 l": (61, 61, 195, 27),
    "wine": (75, 75, 300, 29),
    "beer": (61, 61, 228, 26),
    "juice 0.75 l": (80, 80, 240, 38),
    "milk 1 l": (90, 90, 232, 38),
    "shampoo": (75, 45, 200, 27),
    "shower gel": (68, 41, 188, 28),
    "dish soap": (82, 52, 238, 28),
    "fabric softener": (112, 76, 266, 45),
    "ketchup": (72, 55, 178, 38),
    "squeezed sauce": (64, 64, 165, 34),
    "soy sauce": (58, 58, 182, 27),
    "vinegar": (68, 68, 260, 28),
    "hand sanitizer": (48, 28, 125, 22),
    "glue": (55, 33, 142, 24),
    "sun cream": (66, 42, 165, 34),
}
# Diameter, high with its lid, lid.
JARS: Sizes = {
    "jam": (75, 112, 16),
    "honey": (86, 104, 18),
    "pickles": (90, 162, 18),
    "mayonnaise": (80, 148, 20),
    "peanut butter": (79, 122, 20),
    "instant coffee": (86, 164, 26),
    "baby food": (61, 70, 14),
    "spice": (45, 108, 20),
    "pepper mill": (50, 150, 30),
    "pills": (45, 82, 18),
    "vitamins": (66, 122, 22),
    "cream": (70, 46, 16),
    "film": (32, 51, 9),
}
# Diameter, high.
MUGS: Sizes = {
    "mug": (84, 96),
    "large mug": (93, 108),
    "tall mug": (82, 112),
    "enamel mug": (87, 86),
    "latte": (90, 103),
    "cappuccino": (96, 70),
    "tea cup": (86, 64),
    "espresso": (63, 60),
}
PITCHERS: Sizes = {
    "measuring jug 0.5 l": (96, 124),
    "measuring jug 1 l": (116, 152),
    "milk jug": (92, 140),
    "beer stein": (98, 168),
    "water jug 1 l": (112, 196),
    "water jug 1.5 l": (124, 222),
    "water jug 2 l": (138, 246),
    "ice tea jug": (122, 256),
    "wide jug": (148, 198),
    "ewer": (134, 226),
}
# Diameter, high, stem.
CUPS: Sizes = {
    "water glass": (74, 108, 0),
    "long drink": (64, 152, 0),
    "tumbler": (84, 92, 0),
    "paper cup": (80, 94, 0),
    "coffee to go": (89, 136, 0),
    "espresso to go": (62, 62, 0),
    "shot glass": (47, 60, 0),
    "beer glass": (76, 160, 0),
    "toothbrush mug": (72, 101, 0),
    "white wine": (72, 90, 90),
    "red wine": (88, 105, 98),
    "champagne": (56, 122, 85),
}
BOWLS: Sizes = {
    "cereal": (150, 66),
    "rice": (116, 60),
    "dessert": (122, 50),
    "soup": (164, 70),
    "dip": (92, 40),
    "mixing": (170, 92),
    "noodles": (158, 82),
    "small salad": (136, 74),
}
PLATES: Sizes = {
    "saucer": (150, 20),
    "cake plate": (172, 19),
    "side plate": (195, 22),
    "dinner plate": (245, 25),
    "dessert dish": (140, 30),
    "soup plate": (215, 38),
}
# Diameter, deep, handle, its rise in radians.
PANS: Sizes = {
    "egg pan": (142, 32, 145, 0.25),
    "frying pan": (178, 38, 155, 0.2),
    "milk pan": (124, 68, 132, 0.1),
    "saucepan": (154, 78, 150, 0.08),
    "ladle": (88, 42, 235, 1.0),
    "small ladle": (62, 32, 190, 1.1),
    "measuring scoop": (66, 44, 92, 0.03),
}
# Wide, deep, high, hoop above the rim.
BASKETS: Sizes = {
    "bucket": (156, 156, 142, 105),
    "toy bucket": (132, 132, 120, 85),
    "Easter basket": (158, 112, 84, 110),
    "berry basket": (136, 102, 72, 82),
    "lantern": (98, 98, 122, 72),
    "paint pail": (112, 112, 116, 76),
}
# Diameter, high, knob's diameter and height.
LIDS: Sizes = {
    "pot lid": (162, 12, 40, 30),
    "small pot lid": (128, 10, 34, 26),
    "tea pot lid": (76, 9, 20, 18),
    "jar lid": (76, 15, 0, 0),
    "puck": (76, 25, 0, 0),
    "cookie tin": (142, 54, 0, 0),
    "cream tin": (82, 24, 0, 0),
    "camembert": (112, 33, 0, 0),
    "drain plug": (52, 14, 18, 16),
}
# Wide, thick at the shoulder, long.
TUBES: Sizes = {
    "toothpaste": (54, 36, 158),
    "small toothpaste": (38, 25, 96),
    "hand cream": (46, 31, 122),
    "sun cream": (60, 40, 165),
    "ointment": (32, 20, 112),
    "tomato paste": (50, 36, 170),
}
# Wide, deep, high up to the trigger head.
SPRAYS: Sizes = {
    "window cleaner": (94, 56, 190),
    "bathroom cleaner": (86, 62, 200),
    "plant mister": (84, 84, 160),
    "hair salon": (68, 68, 165),
    "stain remover": (80, 48, 170),
}
# Diameter, high.
KETTLES: Sizes = {
    "tea pot 0.5 l": (118, 96),
    "tea pot 1 l": (142, 118),
    "coffee pot": (112, 188),
    "watering can": (128, 142),
    "kettle 1 l": (146, 168),
    "creamer": (80, 88),
}


def box(rng: Generator) -> trimesh.Trimesh:
    """Cartons, from a matchbox to a cereal box, on any side."""
    _, extents = draw(rng, CARTONS)
    return round_box(rng.permutation(extents), rng.uniform(0.01, 0.06) * extents[0])


def can(rng: Generator) -> trimesh.Trimesh:
    """Drink, food and fish cans and aerosols with rims and sunken lids."""
    _, (width, depth, height) = draw(rng, CANS)
    radius, rim, sunk = width / 2, rng.uniform(0.6, 1.4), rng.uniform(2, 6)
    half = [(0, sunk), (radius - 2 * rim, sunk), (radius - rim, 0), (radius + rim, 0)]
    half += [(radius + rim, 2 * rim), (radius, 4 * rim)]
    mesh = revolve(half + [(r, height - z) for r, z in half[::-1]], rim)
    return oval(mesh, depth / width, rng.uniform(2.5, 4)) if depth < 0.9 * width else mesh


def bottle(rng: Generator) -> trimesh.Trimesh:
    """Drink, sauce, squeeze and shampoo bottles with a cap."""
    _, (width, depth, height, neck) = draw(rng, BOTTLES)
    cap = rng.uniform(14, 28)
    body = _bottle_body(rng, width, depth, height - cap, neck / 2)
    top = neck * rng.uniform(0.4, 0.6)
    lid = revolve([(0, -4), (0.575 * neck, -4), (top, cap), (0, cap)], 2)
    return union(body, lid.apply_translation([0, 0, height - cap]))


def _bottle_body(
    rng: Generator, width: float, depth: float, height: float, neck: float
) -> trimesh.Trimesh:
    radius, shoulder = width / 2, height * rng.uniform(0.58, 0.8)
    waist = radius * (rng.uniform(0.78, 1) if rng.random() < 0.5 else 1)
    body = [(0, 3), (0.7 * radius, 0), (radius, 0), (radius, 0.25 * shoulder)]
    body += [(waist, 0.6 * shoulder), (radius, shoulder)]
    body += [(rng.uniform(neck, radius), (shoulder + height) / 2), (neck, height), (0, height)]
    mesh = revolve(body, rng.uniform(4, 20))
    return oval(mesh, depth / width, rng.uniform(2, 4)) if depth < 0.9 * width else mesh


def jar(rng: Generator) -> trimesh.Trimesh:
    """Jam and spice jars, tubs and pill boxes with a wide lid."""
    _, (diameter, height, lid) = draw(rng, JARS)
    belly, body = diameter / 2, height - lid
    radius = belly * rng.uniform(0.88, 1)
    neck = radius * rng.uniform(0.78, 0.95)
    outer = neck * rng.uniform(1.04, 1.12)
    corners = [(0, 3), (0.8 * radius, 0), (radius, 0), (belly, 0.5 * body), (radius, 0.85 * body)]
    corners += [(neck, body - 4), (neck, body), (outer, body), (outer, height), (0, height)]
    mesh = revolve(corners, rng.uniform(2, 8))
    return oval(mesh, 1, rng.uniform(2.5, 5)) if rng.random() < 0.3 else mesh


def mug(rng: Generator) -> trimesh.Trimesh:
    """Mugs and cups with a handle that fingers pass."""
    _, (diameter, height) = draw(rng, MUGS)
    radius = diameter / 2
    foot, bulge = radius * rng.uniform(0.75, 1), radius * rng.uniform(0.97, 1.06)
    body = vessel([(foot, 0), (bulge, 0.45 * height), (radius, height)], rng.uniform(3.5, 5), 3)
    high, low = height * rng.uniform(0.8, 0.9), height * rng.uniform(0.14, 0.22)
    return body.hollow(handle(rng, body, high, low, rng.uniform(24, 36), 4.2))


def pitcher(rng: Generator) -> trimesh.Trimesh:
    """Jugs and measuring cups with a large handle and a spout."""
    _, (diameter, height) = draw(rng, PITCHERS)
    belly = diameter / 2
    radius = belly * rng.uniform(0.8, 1)
    outer = [(belly * rng.uniform(0.7, 0.98), 0), (belly, 0.4 * height)]
    outer += [(radius * rng.uniform(0.85, 1), 0.8 * height), (radius, height)]
    body = vessel(outer, rng.uniform(4, 5.5))
    high, low = height * rng.uniform(0.8, 0.9), height * rng.uniform(0.2, 0.35)
    mesh = body.hollow(handle(rng, body, high, low, rng.uniform(30, 44), 6))
    x, _, z = mesh.vertices.T
    lip = np.clip((z / height - 0.75) / 0.25, 0, 1) ** 2 * np.clip(-x / radius - 0.4, 0, 1) ** 1.5
    mesh.vertices[:, 0] -= rng.uniform(25, 50) * lip
    return mesh


def cup(rng: Generator) -> trimesh.Trimesh:
    """Tumblers, beakers, paper cups and wine glasses."""
    _, (diameter, height, stem) = draw(rng, CUPS)
    radius, wall = diameter / 2, rng.uniform(2.5, 4)
    if not stem:
        foot = radius * rng.uniform(0.68, 1)
        middle = (foot + radius) / 2 * rng.uniform(1, 1.05)
        return vessel([(foot, 0), (middle, 0.5 * height), (radius, height)], wall, 3).hollow()
    belly = radius * rng.uniform(1, 1.1)
    body = vessel([(0.5 * radius, 0), (belly, 0.45 * height), (0.9 * radius, height)], wall)
    thin, base = rng.uniform(3.5, 6), 0.8 * radius
    corners = [(0, -stem), (base, -stem), (base, 3 - stem), (thin, 10 - stem), (thin, -8)]
    foot_and_stem = revolve([*corners, (0.45 * radius, 1), (0, 1)], 4)
    return body.hollow(foot_and_stem)


def bowl(rng: Generator) -> trimesh.Trimesh:
    """Cereal bowls and dessert dishes."""
    _, (diameter, height) = draw(rng, BOWLS)
    radius = diameter / 2
    foot, belly = radius * rng.uniform(0.45, 0.62), radius * rng.uniform(0.78, 0.9)
    knots = [(foot, 0), (belly, 0.4 * height), (radius, height)]
    return vessel(knots, rng.uniform(4, 5.5), 3).hollow()


def plate(rng: Generator) -> trimesh.Trimesh:
    """Plates, saucers and flat dishes."""
    _, (diameter, height) = draw(rng, PLATES)
    radius, thick = diameter / 2, rng.uniform(3.5, 5)
    well = radius * rng.uniform(0.55, 0.7)
    top = [(0, thick), (well, thick), (1.12 * well, 0.6 * height), (radius, height)]
    below = [(r, z - thick) for r, z in top]
    return revolve([*below, *top[::-1]], 0.3 * thick)


def pan(rng: Generator) -> trimesh.Trimesh:
    """Pans, ladles and scoops: hollow with a long handle."""
    _, (diameter, height, length, rise) = draw(rng, PANS)
    radius = diameter / 2
    foot = radius * (rng.uniform(0.45, 0.55) if rise > 0.5 else rng.uniform(0.8, 0.95))
    middle = 0.3 * foot + 0.7 * radius
    body = vessel([(foot, 0), (middle, 0.5 * height), (radius, height)], rng.uniform(3, 4), 3)
    along = np.array([0, 12, 0.4 * length, 0.8 * length, 0.97 * length, length])
    slope = rise * np.array([0.3, 0.6, 1, 1, 1, 1])
    path = np.stack([body.radius(0.75 * height) - 6 + along * np.cos(slope), 0 * along], axis=1)
    path[:, 1] = 0.75 * height + along * np.sin(slope)
    thick = np.array([4, 4, 4.5, 5.5, 5, 2.5]) * rng.uniform(0.9, 1.2)
    return body.hollow(tube(path, np.stack([thick, thick * rng.uniform(1.3, 2.2)], axis=1)))


def basket(rng: Generator) -> trimesh.Trimesh:
    """Buckets, baskets and lanterns: hollow with a hoop to carry them by."""
    _, (width, depth, height, hoop) = draw(rng, BASKETS)
    radius, wall = width / 2, rng.uniform(3.5, 5)
    body = vessel([(radius * rng.uniform(0.7, 0.9), 0), (radius, height)], wall, 2)
    mesh = body.hollow()
    if depth < 0.9 * width:
        mesh = oval(mesh, depth / width, 2.5)
    # From wall to wall inside the rim, upright there.
    t = np.linspace(0, np.pi, 13)
    arch = np.stack([np.cos(t), np.sin(t) ** 0.8], axis=1) * [radius - 0.6 * wall, hoop + 6]
    arch[:, 1] += height - 6
    thick = rng.uniform(3, 4.5)
    return union(mesh, tube(arch, [thick, thick * rng.uniform(1, 2)], sides=8))


def lid(rng: Generator) -> trimesh.Trimesh:
    """Lids with or without a knob, pucks and flat tins."""
    _, (diameter, height, knob, rise) = draw(rng, LIDS)
    radius = diameter / 2
    if not knob:
        return disc(diameter, height, rng.uniform(0.05, 0.3) * height)
    crown, neck = height * rng.uniform(1.2, 1.8), 0.3 * knob
    corners = [(0, 0), (radius, 0), (radius, 0.4 * height), (0.9 * radius, 0.5 * height)]
    corners += [(neck, crown), (neck, crown + 0.4 * rise), (knob / 2, crown + 0.6 * rise)]
    return revolve([*corners, (knob / 2, crown + 0.8 * rise), (0, crown + rise)], 3)


def squeeze_tube(rng: Generator) -> trimesh.Trimesh:
    """Toothpaste and cream: a flat tail, a round shoulder and a cap, lying along x."""
    _, (width, thick, length) = draw(rng, TUBES)
    t = np.array([0, 0.06, 0.25, 0.5, 0.75, 0.93, 1])
    flat = thick / 2 * np.array([0.08, 0.08, 0.4, 0.75, 0.97, 1, 0.55])
    wide = (width + (thick - width) * np.array([0, 0, 0.2, 0.5, 0.85, 1, 1])) / 2
    wide[-1] *= 0.55
    body = tube(np.stack([length * t, 0 * t], axis=1), np.stack([flat, wide], axis=1), sides=24)
    cap = disc(thick * rng.uniform(0.5, 1), rng.uniform(12, 24), 1.5)
    return union(body, turn(cap, np.pi / 2, [0, 1, 0]).apply_translation([length - 2, 0, 0]))


def spray(rng: Generator) -> trimesh.Trimesh:
    """Spray bottles with a trigger."""
    _, (width, depth, height) = draw(rng, SPRAYS)
    body = _bottle_body(rng, width, depth, height, 14)
    collar = disc(32, 20, 2).apply_translation([0, 0, height - 6])
    long, tall, z = rng.uniform(66, 84), rng.uniform(26, 34), height + 10
    head = round_box([long, 25, tall], 5).apply_translation([0.18 * long, 0, z + tall / 2])
    nozzle = turn(disc(16, 12, 1), np.pi / 2, [0, 1, 0])
    nozzle.apply_translation([0.68 * long - 3, 0, z + 0.6 * tall])
    # The trigger hangs from the head's front, a finger's width before the neck.
    front = np.array([[40, z + 6], [44, z - 12], [42, z - 28], [46, z - 42]])
    trigger = tube(fillet(front, 8), [3.5, 7], sides=8)
    return union(body, collar, head, nozzle, trigger)


def kettle(rng: Generator) -> trimesh.Trimesh:
    """Tea pots, kettles and watering cans: hollow with a handle and a long spout."""
    _, (diameter, height) = draw(rng, KETTLES)
    belly = diameter / 2
    knots = [(belly * rng.uniform(0.7, 0.9), 0), (belly, 0.4 * height)]
    body = vessel([*knots, (belly * rng.uniform(0.55, 0.85), height)], rng.uniform(4, 5.5))
    high, low = height * rng.uniform(0.82, 0.9), height * rng.uniform(0.15, 0.25)
    grip = handle(rng, body, high, low, rng.uniform(26, 40), 5)
    z, reach = height * rng.uniform(0.25, 0.4), rng.uniform(0.5, 0.8) * belly
    root = body.radius(z)
    path = [(12 - root, z), (-root - 0.35 * reach, z + 0.05 * height)]
    path = fillet([*path, (-root - 0.65 * reach, 0.85 * height), (-root - reach, height)], 15)
    wide = np.linspace(0.26, 0.11, len(path))[:, None] * belly * np.array([1, 0.9])
    return body.hollow(grip, tube(path, wide))
