"""`moved`: endpoints that were renamed."""

from __future__ import annotations

from reconciler.core.desired import Moved
from reconciler.core.manifest.findings import Findings, suggestion
from reconciler.core.manifest.model import Manifest


def read_moved(manifest: Manifest, findings: Findings) -> tuple[Moved, ...]:
    """Return the renames; what is renamed from and to nothing, or in a circle, is a finding."""
    known = {*manifest.endpoints, *(entry.from_ for entry in manifest.moved)}
    seen: set[str] = set()
    circles = False
    for index, entry in enumerate(manifest.moved):
        if entry.to == entry.from_:
            findings.error(("moved", index, "to"), f"`{entry.to}` is moved to itself", "remove this entry")
            continue
        if entry.from_ in manifest.endpoints:
            hint: str | None = "remove this entry once it was applied; to swap two names, go by way of a third"
            findings.error(("moved", index, "from"), f"`{entry.from_}` is still declared in `endpoints`", hint)
        if entry.from_ in seen:
            findings.error(("moved", index, "from"), f"`{entry.from_}` is moved twice")
        if entry.to not in known:
            gone = "remove this entry if its block is gone for good"
            near = suggestion(entry.to, manifest.endpoints, "endpoints")
            hint = f"{near}{'' if near.endswith('?') else ';'} {gone}" if near else gone
            if entry.to in manifest.pools:
                hint = "a pool has no past: call it by its new name in `pools` and in the workflows"
            findings.error(("moved", index, "to"), f"there is no endpoint `{entry.to}`", hint)
        elif not circles and _leads_nowhere(entry.to, manifest):
            circles = True  # one finding for all of its entries
            findings.error(("moved", index, "to"), f"`{entry.to}` is moved on to no endpoint, in a circle")
        seen.add(entry.from_)
    return tuple(Moved(entry.from_, entry.to) for entry in manifest.moved)


def _leads_nowhere(name: str, manifest: Manifest) -> bool:
    """Whether the moves that begin at `name` come back to where they were, before they reach an endpoint."""
    onward: dict[str, str] = {entry.from_: entry.to for entry in manifest.moved}
    seen: set[str] = set()
    while name not in manifest.endpoints and name in onward and name not in seen:
        seen.add(name)
        name = onward[name]
    return name in seen
