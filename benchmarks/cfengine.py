"""A CFEngine policy for the same files: four file promises for each endpoint, from a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.fixtures import Farm

FILES = ("config.yaml", "user_config_template.yaml.j2", "user_config_schema.json", "user_environment.yaml")

_POLICY = """\
body common control {{ bundlesequence => {{ "main" }}; }}
body copy_from local(path) {{ source => "$(path)"; compare => "digest"; }}
body perms private {{ mode => "0600"; rxdirs => "false"; }}
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


def work_directory(farm: Farm, agent: str) -> None:
    """Make the directory that the agent wants to find its own programs and key in."""
    directory = farm.directory / "cfengine"
    for name in ("bin", "inputs", "lastseen", "modules", "outputs", "ppkeys", "state"):
        (directory / name).mkdir(parents=True, mode=0o700)
    directory.chmod(0o700)
    (directory / "bin" / "cf-promises").symlink_to(Path(agent).with_name("cf-promises"))
    os.environ["CFENGINE_TEST_OVERRIDE_WORKDIR"] = str(directory)
    subprocess.run([Path(agent).with_name("cf-key")], check=True, stdout=subprocess.DEVNULL)


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
        _POLICY.format(names=names, live=farm.config_dir, wanted=wanted, files=", ".join(f'"{file}"' for file in FILES))
    )
    path.chmod(0o600)
    return path
