"""Print `name==version` for the lower bound of every dependency that pyproject.toml names at run time."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
wanted = [*project["dependencies"], *project["optional-dependencies"]["sandbox"]]
for requirement in wanted:
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+).*", requirement)
    if found is None:
        sys.exit(f"{requirement}: has no lower bound")
    print(f"{found[1]}=={found[2]}")
