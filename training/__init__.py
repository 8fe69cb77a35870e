"""One training entry for all systems: `grasp-gen train CONFIG.yaml`."""
