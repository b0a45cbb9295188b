"""Options in config.yaml that no manifest sets: with one that does not exist, no daemon comes up. Pure.

They survive every merge (`documents.py`), so somebody's slip of the pen waits in the file for the next restart: then
the daemon would be ended, and none would come up. The manifest's own are checked when it is read.
"""

from __future__ import annotations

from typing import Any

from reconciler.core import safe_yaml
from reconciler.core.actions import Refusal, Restart, Start, Stop, StopElsewhere, WriteFile
from reconciler.core.desired import CONFIG, DesiredEndpoint
from reconciler.core.elsewhere import MAY_BE_LEFT
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.manifest.options import OptionTable, why_refused
from reconciler.core.step_list import Steps


def hold_back(
    endpoint: DesiredEndpoint, directory: LiveDirectory | None, live: LiveState, table: OptionTable | None, steps: Steps
) -> None:
    """Leave out a start that cannot succeed, with the stop before it, and say which options stand against it.

    Args:
        directory: None when it is made in this run: then all that is in it is the manifest's.
        table: the options of the installed globus-compute-endpoint; None, or not its own, says nothing for certain.
    """
    if directory is None or table is None or not table.exact or not any(_is_start(a) for a in steps.actions):
        return
    written = next((a.content for a in steps.actions if isinstance(a, WriteFile) and a.file == CONFIG), None)
    there = directory.files.get(CONFIG)
    content = written or (there.content if there else b"")
    path = f"{live.config_dir}/{directory.name}/{CONFIG}"
    # A file that is written anew has other lines.
    found = [
        (key.name, why, f"{path}:{key.line}:{key.column}" if written is None else path)
        for key in safe_yaml.top_level_keys(content)
        if key.name not in endpoint.config and (why := why_refused(key.name, table))
    ]
    if not found:
        return
    steps.actions = [a for a in steps.actions if not isinstance(a, Start | Restart | Stop | StopElsewhere)]
    text = "; ".join(f"{at}: {why}" for _, why, at in found)
    names = ", ".join(f"`{name}`" for name, _, _ in found)
    refusal = Refusal(
        endpoint.name, f"its daemon would not come up: {text}", f"take {names} out of {CONFIG}", exit_code=3
    )
    steps.refusals.append(refusal)


def _is_start(action: Any) -> bool:
    """Whether a daemon is to come up in this run."""
    return isinstance(action, Start | Restart) and action.hold in (None, MAY_BE_LEFT)
