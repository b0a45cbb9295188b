"""Names in the config directory that are not endpoints': our own directory, and those of user endpoints."""

from __future__ import annotations

import re

OWN_DIRECTORY = ".chiltepin"
"""Our directory in the config directory: lease, journal, backups, trash."""

_USER_ENDPOINT = re.compile(r"uep\.([0-9A-Fa-f-]{36})\.([0-9A-Fa-f-]{36})")


def user_endpoint(name: str) -> tuple[str, str] | None:
    """Split `uep.ENDPOINT.USER_ENDPOINT` into the two UUIDs; None for any other name."""
    match = _USER_ENDPOINT.fullmatch(name)
    return (match[1].lower(), match[2].lower()) if match else None
