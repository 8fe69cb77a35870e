"""The grasp dataset."""
