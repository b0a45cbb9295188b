"""What globus-compute-endpoint asks of a daemon of root: it serves other users too, and needs a contact. Pure."""

from __future__ import annotations

import yaml

from reconciler.core import safe_yaml
from reconciler.core.actions import Create, Note, Restart, Start, WriteFile
from reconciler.core.desired import CONFIG
from reconciler.core.live import LiveDirectory, LiveState
from reconciler.core.step_list import Steps

_WARNING = (
    "warning: you are root, so its daemon would be a multi-user one, which does not start without `email` in its"
    " config; run chiltepin as another user, or in `unshare --user --map-user=65534 --map-group=65534 bash`"
)


def note_root(name: str, directory: LiveDirectory | None, live: LiveState, steps: Steps) -> None:
    """Warn of a start that root's daemon will refuse. What is in config.yaml by then counts, whoever wrote it."""
    starts = any(isinstance(action, Start | Restart) and not action.hold for action in steps.actions)
    if live.host.uid == 0 and starts and not _has_email(_config(directory, steps)):
        steps.notes.append(Note(name, _WARNING))


def _config(directory: LiveDirectory | None, steps: Steps) -> bytes:
    """Return config.yaml as it is when the daemon starts."""
    for action in steps.actions:
        if isinstance(action, Create) and CONFIG in action.files:
            return action.files[CONFIG][0]
        if isinstance(action, WriteFile) and action.file == CONFIG:
            return action.content or b""
    found = directory.files.get(CONFIG) if directory else None
    return found.content if found else b""


def _has_email(config: bytes) -> bool:
    try:
        values = safe_yaml.load(config)
    except (yaml.YAMLError, ValueError):  # told of elsewhere
        return True
    return isinstance(values, dict) and bool(values.get("email"))
