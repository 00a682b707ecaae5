"""Makes `support` importable and gives the models that several tests use."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
