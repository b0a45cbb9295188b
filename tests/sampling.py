"""How much of a sweep is run: all of it, or (`make matrix`, `make lowest`) every so-many-th step.

What a sweep shows, that no write and no request may fail without being told, does not depend on the version of
Python or of a dependency; that the code runs there at all does.
"""

from __future__ import annotations

import os

STEP = int(os.environ.get("CHILTEPIN_TEST_STEP", "1"))
