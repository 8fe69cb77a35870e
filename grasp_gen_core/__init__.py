"""Human-like hand grasps for object point clouds; everything below runs without ROS."""

import os

# OpenMP threads that wait by spinning starve other processes: 2 to 10 times slower on a busy robot.
# Read when torch loads, so it is set before anything here imports it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Else MKL's last digits depend on where in memory an array lies, and refinement makes centimetres
# of them. Read when MKL loads.
os.environ.setdefault("MKL_CBWR", "AUTO")

from grasp_gen_core.errors import InputError  # noqa: E402
from grasp_gen_core.types import GraspSet, HandPose  # noqa: E402

__all__ = ["GraspPipeline", "GraspSet", "HandPose", "InputError"]


def __getattr__(name: str):
    # The pipeline pulls in the generators; people who only read grasp files don't need them.
    if name == "GraspPipeline":
        from grasp_gen_core.pipeline import GraspPipeline

        return GraspPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
