"""Human-like hand grasps for object point clouds; everything below runs without ROS."""

from grasp_gen_core.types import GraspSet, HandPose

__all__ = ["GraspPipeline", "GraspSet", "HandPose"]


def __getattr__(name: str):
    # The pipeline pulls in the generators; people who only read grasp files don't need them.
    if name == "GraspPipeline":
        from grasp_gen_core.pipeline import GraspPipeline

        return GraspPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
