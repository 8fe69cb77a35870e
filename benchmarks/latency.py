"""Time of 32 grasps from cloud to GraspSet, stage by stage: `grasp-gen bench`."""

import sys

from grasp_gen_core.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
