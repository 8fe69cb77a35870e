import sys

from grasp_gen_core.cli import main

sys.exit(main())
