"""Render the shipped hand: flat, fist, pinch and shape extremes.

python docs/hand_picture.py docs/pictures/hand.png
"""

import sys

import torch

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.hand.layer import GENERIC_HAND
from grasp_gen_core.render import render_hands

# Degrees of flexion, deviation and twist for MANO joints 1-15; the rest stays flat.
FIST = {first + i: (a, 0, 0) for first in (1, 4, 7, 10) for i, a in enumerate((80, 95, 60))}
FIST |= {13: (25, -25, -25), 14: (35, 0, 0), 15: (45, 0, 0)}
PINCH = {1: (67, 6, 0), 2: (45, 0, 0), 3: (25, 0, 0), 4: (40, 0, 0), 5: (30, 0, 0), 6: (15, 0, 0)}
PINCH |= {7: (25, 0, 0), 8: (22, 0, 0), 10: (30, 0, 0), 11: (25, 0, 0)}
PINCH |= {13: (21, -38, -45), 14: (15, 0, 0), 15: (20, 0, 0)}
HANDS = {
    "flat": ({}, {}),
    "fist": (FIST, {}),
    "pinch": (PINCH, {}),
    "fingers +3 sd": ({}, {1: 3}),
    "breadth -3, finger thickness -3 sd": ({}, {2: -3, 6: -3}),
    "thickness +3, finger thickness +3 sd": ({}, {3: 3, 6: 3}),
}

hand = ManoHand(GENERIC_HAND)
mano = torch.zeros(len(HANDS), 61)
for row, (pose, shape) in zip(mano, HANDS.values(), strict=True):
    angles = torch.zeros(1, 15, 3)
    for joint, degrees in pose.items():
        angles[0, joint - 1] = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    row[13:58] = hand.regions.to_pose(angles)[0]
    for component, value in shape.items():
        row[component] = value
vertices, _ = hand(mano)
render_hands(vertices.numpy(), hand.faces.numpy(), sys.argv[1], labels=tuple(HANDS))
