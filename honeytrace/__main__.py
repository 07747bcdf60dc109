"""Run the honeytrace command: python -m honeytrace."""

from __future__ import annotations

import sys

from honeytrace.cli import main

if __name__ == "__main__":
    sys.exit(main())
