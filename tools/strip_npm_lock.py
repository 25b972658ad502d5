"""Takes out of package-lock.json what names an address and nothing needs: funding links, tarballs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

lock = Path(sys.argv[1])
content = json.loads(lock.read_text())
for package in content["packages"].values():
    package.pop("funding", None)
    package.pop("resolved", None)
lock.write_text(json.dumps(content, indent=2) + "\n")
