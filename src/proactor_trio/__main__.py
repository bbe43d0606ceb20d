"""`python -m proactor_trio`: the main job, `compat`, `doctor` and `tree`; see proactor_trio.command."""

import sys

from proactor_trio.command.arguments import main

if __name__ == "__main__":
    sys.exit(main())
