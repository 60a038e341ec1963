"""`python -m asyncrl`, and the console script. Worker processes import this file again, so it must stay light."""

from __future__ import annotations

import sys

from asyncrl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
