"""Starts the player by path: `python -I …/testing/play.py FILE`. Works from a source tree as from an installation."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
    from stretto.testing.scripted import main

    sys.exit(main(sys.argv[1:]))
