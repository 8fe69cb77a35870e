"""No network: hands found on the object itself, as training grasps are. Slow, and the yardstick."""

from __future__ import annotations

import torch
from torch import Tensor

from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.synthesis.optimise import Target, optimise_grasps


class Optimiser:
    """Human starts and 100 Adam steps against the object's distance (synthesis.optimise).

    Args:
        hand: the right hand it generates.
    """

    proposals = 3
    knows_surface = True
    draws_objects = False

    def __init__(self, hand: ManoHand) -> None:
        self.hand = hand

    def sample(
        self, points: Tensor, num: int, rng: torch.Generator, normals: Tensor, field: DistanceGrid
    ) -> Tensor:
        """Up to `num` hands around one object, fewer where few places afford a grasp.

        Args:
            points, normals: (N, 3) its surface, metres, and outward unit normals.
            num: hands wanted.
            rng: on the CPU; decides.
            field: signed distance to the object.

        Returns:
            (B, 61) MANO parameters in the frame of the points.

        Raises:
            InputError: if no grasp type fits the object anywhere.
        """
        target = Target.from_cloud(points.cpu().numpy(), normals.cpu().numpy(), field)
        seed = int(torch.randint(2**31, (1,), generator=rng))
        with torch.enable_grad():
            return optimise_grasps(target, self.hand, num, seed).mano
