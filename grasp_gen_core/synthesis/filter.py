"""From optimised hands to kept grasps: geometry, then two physics engines."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
import trimesh

from grasp_gen_core.contact.force_closure import force_closure_margin
from grasp_gen_core.hand import PARTS, ManoHand
from grasp_gen_core.metrics.contact_fingers import finger_touches
from grasp_gen_core.metrics.contact_ratio import CONTACT_DISTANCE
from grasp_gen_core.metrics.grasp_success import HELD, ClosingTest
from grasp_gen_core.metrics.hold_worst_axis import HoldTest, hand_cells
from grasp_gen_core.metrics.penetration_depth import penetration_depth_cm
from grasp_gen_core.metrics.penetration_volume import penetration_volume_cm3
from grasp_gen_core.metrics.sim_displacement import SimTest
from grasp_gen_core.objects.distance import closest_surface, signed_distance
from grasp_gen_core.synthesis.optimise import Target, optimise_grasps, reaches_from_above
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES

MAX_DEPTH_CM = 0.3
MAX_VOLUME_CM3 = 1.0  # a thin wall through the palm is never deep
# A body in free fall moves 31 cm in the hold test's time and 3.4 m in PyBullet's 200 steps.
HOLD_SECONDS, MAX_HOLD_CM = 0.25, 1.0
SIM_STEPS, MAX_SIM_CM = 200, 1.0
NEAR = 0.01  # metres


class GraspMaker:
    """Makes grasps of one object.

    Kept are hands at most 3 mm deep in the exact mesh, touching with the thumb and what opposes it
    in their grasp type, that hold the object under gravity along all six axes in MuJoCo and for 200
    steps of the PyBullet test.

    Args:
        mesh: watertight, metres, z up.
        hand: its device is used.
        closing: kept are also only hands that hold the object when they close, see
            `metrics.grasp_success`.
    """

    def __init__(self, mesh: trimesh.Trimesh, hand: ManoHand, closing: bool = False) -> None:
        self.mesh, self.hand = mesh, hand
        self.target = Target.from_mesh(mesh, hand.faces.device)
        self.faces = hand.closed_faces.cpu().numpy()
        self.cells = hand_cells(hand)
        self.hold = HoldTest(mesh, self.cells, duration=HOLD_SECONDS)
        self.sim = SimTest(mesh, steps=SIM_STEPS, drift=False, lost=MAX_SIM_CM / 100)
        self.close = ClosingTest(mesh, deepcopy(hand).cpu()) if closing else None

    def __call__(
        self, count: int, seed: int, wanted: int | None = None
    ) -> tuple[pd.DataFrame, Counter]:
        """Optimise hands and keep the good ones.

        Args:
            count: hands to try.
            seed: same seed, same grasps.
            wanted: most grasps to keep, all grasp types alike as far as they go; None keeps all.

        Returns:
            The kept grasps, with the columns of data.dataset but object and split, and how many
            hands failed at which test.

        Raises:
            InputError: if no grasp type fits the object anywhere.
        """
        found = optimise_grasps(self.target, self.hand, count, seed)
        with torch.no_grad():
            vertices = self.hand(found.mano)[0].cpu().numpy()
            above = reaches_from_above(found.mano, self.hand, self.target.bottom).cpu().numpy()
        distance = signed_distance(self.mesh, vertices)
        depth = penetration_depth_cm(torch.from_numpy(distance)).numpy()
        touches = contact_parts(distance, self.hand)
        kinds = [GRASP_TYPES[number] for number in found.kind.tolist()]
        held = np.array([kind.is_held(row) for kind, row in zip(kinds, touches, strict=True)])
        good, failed = np.arange(len(kinds)), Counter()

        def keep(passed: np.ndarray, test: str) -> None:
            nonlocal good
            failed[test] += int((~passed).sum())
            good = good[passed]

        keep(above[good], "reaches through the support")
        keep(depth[good] <= MAX_DEPTH_CM, f"deeper than {10 * MAX_DEPTH_CM:.0f} mm")
        keep(held[good], "lacks contact")
        volume = np.full(len(kinds), np.inf, np.float32)
        volume[good] = penetration_volume_cm3(vertices[good], self.faces, self.mesh, 0.001)
        keep(volume[good] <= MAX_VOLUME_CM3, f"shares more than {MAX_VOLUME_CM3} cm^3")

        rows = []
        for number in good[in_turn(found.kind[good].tolist())]:
            if len(rows) == wanted:
                break
            failure, *moved = self.simulate(vertices[number], distance[number])
            if not failure and self.close is not None:
                closed = self.close(found.mano[number, None].cpu().numpy())
                failure = "" if closed.outcome[0] == HELD else "lets go when it closes"
            if failure:
                failed[failure] += 1
            else:
                rows.append((number, *moved))
        kept = np.array([row[0] for row in rows], int)
        hold_cm, displacement_cm = np.array([row[1:] for row in rows], np.float32).reshape(-1, 2).T
        table = {
            "kind": [kinds[number].name for number in kept],
            "mano": list(found.mano[kept].cpu().numpy()),
            "contacts": [" ".join(np.array(PARTS)[touches[number]]) for number in kept],
            "contact_fingers": touches[kept, :5].sum(axis=1).astype(np.float32),
            "penetration_depth_cm": depth[kept],
            "penetration_volume_cm3": volume[kept],
            "hold_cm": hold_cm,
            "displacement_cm": displacement_cm,
            "force_closure_n": closure_margins(self.mesh, vertices[kept], self.hand),
        }
        return pd.DataFrame(table), failed

    def simulate(self, vertices: np.ndarray, distance: np.ndarray) -> tuple[str, float, float]:
        """At which physics test a hand fails, "" at none, and how far the object moves in both, cm.

        Args:
            vertices: (778, 3) metres.
            distance: (778,) signed distances to the object, metres.
        """
        # Cells further off than the object may move change nothing but the time.
        near = np.abs(distance) < NEAR
        patches = [patch for patch in self.cells.patches if near[patch].any()]
        self.hold.cells = self.cells._replace(patches=patches)
        hold = self.hold(vertices[None], lost=MAX_HOLD_CM / 100)
        hold_cm = float(hold.displacement_cm[0])
        if hold.unstable[0] or hold_cm >= MAX_HOLD_CM:
            return "falls under gravity along one of six axes", hold_cm, np.nan
        moved = self.sim(vertices[None], self.faces)
        moved_cm = float(moved.displacement_cm[0])
        if moved.unstable[0] or not moved_cm < MAX_SIM_CM:
            return f"falls within {SIM_STEPS} steps of PyBullet", hold_cm, moved_cm
        return "", hold_cm, moved_cm


def in_turn(kinds: list[int]) -> np.ndarray:
    """The order that takes the first of each kind, then the second of each, and so on."""
    seen: Counter = Counter()
    turn = []
    for kind in kinds:
        turn.append(seen[kind])
        seen[kind] += 1
    return np.argsort(turn, kind="stable")


def contact_parts(distance: np.ndarray, hand: ManoHand) -> np.ndarray:
    """(B, 6) bool, which of hand.PARTS touch, from the vertices' distances (B, 778), metres."""
    fingers = finger_touches(torch.from_numpy(distance), hand.parts.cpu()).numpy()
    palm = distance[:, hand.regions.zones.cpu().numpy() == PARTS.index("palm")]
    return np.hstack([fingers, (palm <= CONTACT_DISTANCE).any(axis=1, keepdims=True)])


def closure_margins(mesh: trimesh.Trimesh, vertices: np.ndarray, hand: ManoHand) -> np.ndarray:
    """(B,) newton, force-closure margin of the anchors that touch the object."""
    anchors = vertices[:, hand.regions.anchors.cpu().numpy()]
    points, normals = closest_surface(mesh, anchors)
    touching = np.linalg.norm(anchors - points, axis=-1) <= CONTACT_DISTANCE
    return np.array(
        [
            force_closure_margin(p[t], n[t], mesh.center_mass)
            for p, n, t in zip(points, normals, touching, strict=True)
        ],
        dtype=np.float32,
    )
