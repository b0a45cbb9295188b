"""Write schemas/NAME.schema.json from the models; `--check` only says whether they are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from reconciler.core.schemas import SCHEMAS, schema_of

DIRECTORY = Path(__file__).parent.parent / "schemas"


def main() -> int:
    stale = []
    for name in SCHEMAS:
        path = DIRECTORY / f"{name}.schema.json"
        text = json.dumps(schema_of(name), indent=2, sort_keys=False) + "\n"
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(text)
    if stale:
        print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
