"""``python -m condseg_monai COMMAND``: the same as ``condseg COMMAND``."""

import sys

from condseg_monai.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
