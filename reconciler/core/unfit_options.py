"""Options that the installed globus-compute-endpoint does not know: with one of them no daemon comes up. Pure.

The manifest's own are found when it is read. What others wrote into config.yaml survives every merge (`documents.py`),
so somebody's slip of the pen waits there for the next restart: then the daemon would be ended, and none would come up.
"""

from __future__ import annotations

from typing import Any

from reconciler.core import safe_yaml
from reconciler.core.actions import Refusal, Restart, Start, Stop, StopElsewhere, WriteFile
from reconciler.core.desired import CONFIG, Desired, DesiredEndpoint
from reconciler.core.elsewhere import MAY_BE_LEFT
from reconciler.core.live import LiveDirectory
from reconciler.core.manifest.options import OptionTable, why_refused
from reconciler.core.step_list import Steps


def refuse_declared(name: str, desired: Desired) -> Refusal | None:
    """Refuse to touch an endpoint in whose block there is such an option."""
    problems = desired.refused.get(name)
    if not problems:
        return None
    text = "; ".join(problem.message for problem in problems)
    remedy = next((p.hint for p in problems if p.hint), "remove the option, or install a version that knows it")
    return Refusal(name, text, remedy, exit_code=3)


def refuse_unfit(
    endpoint: DesiredEndpoint, directory: LiveDirectory | None, path: str, table: OptionTable | None, steps: Steps
) -> Refusal | None:
    """Refuse a start that cannot succeed, with the options that stand against it; None when none does.

    Args:
        directory: None when it is made in this run: then all that is in it is the manifest's.
        path: where that is.
        table: the options of the installed globus-compute-endpoint; None, or not its own, says nothing for certain.
        steps: what is planned.
    """
    if directory is None or table is None or not table.exact or not any(_is_start(a) for a in steps.actions):
        return None
    written = next((a.content for a in steps.actions if isinstance(a, WriteFile) and a.file == CONFIG), None)
    there = directory.files.get(CONFIG)
    content = written or (there.content if there else b"")
    # A file that is written anew has other lines.
    found = {
        key.name: f"{path}/{CONFIG}{f':{key.line}:{key.column}' if written is None else ''}: {why}"
        for key in safe_yaml.top_level_keys(content)
        if key.name not in endpoint.config and (why := why_refused(key.name, table))
    }
    if not found:
        return None
    names = ", ".join(f"`{name}`" for name in found)
    return Refusal(
        endpoint.name,
        f"its daemon would not come up: {'; '.join(found.values())}",
        f"take {names} out of {CONFIG}",
        exit_code=3,
    )


def without_start(steps: Steps, refusal: Refusal) -> None:
    """Leave out a start that is refused, and the stop before it: the daemon that runs goes on."""
    steps.actions = [a for a in steps.actions if not isinstance(a, Start | Restart | Stop | StopElsewhere)]
    steps.refusals.append(refusal)


def _is_start(action: Any) -> bool:
    """Whether a daemon is to come up in this run."""
    return isinstance(action, Start | Restart) and action.hold in (None, MAY_BE_LEFT)
