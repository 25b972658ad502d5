"""``python -m sealwire.demo``: the shop as a module of its own name, so that probes find its functions."""

from __future__ import annotations

import sys

from sealwire.demo.shop import main

if __name__ == "__main__":
    sys.exit(main())
