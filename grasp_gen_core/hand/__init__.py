"""The MANO hand: layer, regions, file reading and the shipped generic hand."""

from grasp_gen_core.hand.layer import ManoHand, mirror_mano, mirror_points, vertex_normals
from grasp_gen_core.hand.regions import PARTS, HandRegions

__all__ = ["PARTS", "HandRegions", "ManoHand", "mirror_mano", "mirror_points", "vertex_normals"]
