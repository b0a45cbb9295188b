"""What differs between the lock's pools and the manifest's."""

from __future__ import annotations

from reconciler.core.changes import SENSITIVE, FieldChange
from reconciler.core.pool_changes import PoolChange, pool_changes


def test_options_that_differ_are_shown_without_what_looks_like_a_secret() -> None:
    known = {"p": {"environment": ["export API_TOKEN=hunter22"], "nodes": 1}}
    changed = {"p": {"environment": ["export API_TOKEN=hunter33"], "nodes": 1}}
    longer = {"p": {"environment": ["export API_TOKEN=hunter22", "module load x"], "nodes": 1}}
    assert pool_changes(known, changed) == (
        PoolChange("p", "change", (FieldChange("environment", SENSITIVE, SENSITIVE),)),
    )
    shown = FieldChange("environment", ["export API_TOKEN=***"], ["export API_TOKEN=***", "module load x"])
    assert pool_changes(known, longer) == (PoolChange("p", "change", (shown,)),)
