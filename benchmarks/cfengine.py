"""A CFEngine policy for the same files: four file promises for each endpoint, from a copy of the tree."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.fixtures import Farm

FILES = ("config.yaml", "user_config_template.yaml.j2", "user_config_schema.json", "user_environment.yaml")

_POLICY = """\
body common control {{ bundlesequence => {{ "main" }}; }}
body copy_from local(path) {{ source => "$(path)"; compare => "digest"; }}
body perms private {{ mode => "0600"; }}
bundle agent main
{{
  vars:
      "endpoints" slist => readstringlist("{names}", "", "\\n", 100000, 4000000);
      "files" slist => {{ {files} }};
  files:
      "{live}/$(endpoints)/$(files)"
        copy_from => local("{wanted}/$(endpoints)/$(files)"),
        perms => private;
}}
"""


def policy(farm: Farm) -> Path:
    """Write the policy and the tree that it copies from; return the policy's path."""
    wanted = farm.directory / "wanted"
    for name in farm.names:
        target = wanted / name
        target.mkdir(parents=True)
        for file in FILES:
            shutil.copy2(Path(farm.config_dir) / name / file, target / file)
    names = farm.directory / "names.txt"
    names.write_text("\n".join(farm.names))
    path = farm.directory / "policy.cf"
    path.write_text(
        _POLICY.format(
            names=names, live=farm.config_dir, wanted=wanted, files=", ".join(f'"{file}"' for file in FILES)
        )
    )
    path.chmod(0o600)
    return path
