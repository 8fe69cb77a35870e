"""What says which grasps are best."""
