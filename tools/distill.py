"""Makes a small model learn from a large one: `sluice distill` under the name that a checkout has for it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from sluice.cli.main import main  # noqa: E402  a checkout need not be installed

if __name__ == "__main__":
    raise SystemExit(main(["distill", *sys.argv[1:]]))
