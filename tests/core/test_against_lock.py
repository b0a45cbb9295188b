"""A manifest compared with the lock alone: text compared with literals."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.against_lock import compare_with_lock, comparison_lines
from reconciler.core.desired import Desired, HostView, Moved, TextFile
from reconciler.core.lines import as_text
from reconciler.core.lock import Lock, lock_entry
from reconciler.core.outputs import against_lock_output
from reconciler.core.pool_sharing import locked_pools
from tests.core.builders import SITE, desired, endpoint, pool, says, uuid


def lock_of(view: Desired) -> Lock:
    """Return the lock that an apply of this view leaves."""
    site = replace(SITE, host=view.host.name)
    entries = {name: lock_entry(e, site.claim(e.directory), uuid(name)) for name, e in view.endpoints.items()}
    return Lock(stack=view.stack, lineage="l", endpoints=entries, pools=locked_pools(view))


def compared(view: Desired, lock: Lock | None, *others: Desired) -> str:
    return as_text(comparison_lines(compare_with_lock([view, *others], lock), stack="demo"))


def test_nothing() -> None:
    view = desired(endpoint(), pools=(pool("mpi"),))
    assert compared(view, lock_of(view)) == "No changes: the lock of stack demo has all of this manifest.\n"


def test_without_a_lock_all_is_new() -> None:
    says(
        compared(desired(endpoint(), pools=(pool("mpi"),)), None),
        """
        Against the lock of stack demo:

          + endpoint main
          + pool mpi

        Against the lock: 2 to add.
        """,
    )


def test_each_kind_of_change() -> None:
    before = desired(endpoint(), endpoint("old"), pools=(pool("mpi", max_blocks=1), pool("gone")))
    after = desired(
        endpoint(config={"debug": False}, template=TextFile("builtin@2", "x"), protect=True),
        endpoint("new"),
        pools=(pool("mpi", max_blocks=2),),
    )
    says(
        compared(after, lock_of(before)),
        f"""
        Against the lock of stack demo:

          ~ endpoint main
              protect: false -> true
              config: other content
              template: "builtin@1" -> "builtin@2"
          + endpoint new
          - endpoint old  {uuid("old")}
          - pool gone
          ~ pool mpi
              max_blocks: 1 -> 2

        Against the lock: 1 to add, 2 to change, 2 to remove.
        """,
    )


def test_lists_are_shown_as_everywhere_and_contents_by_their_digests() -> None:
    before = desired(endpoint(), pools=(pool("mpi", environment=["a"]),))
    after = desired(endpoint(config={"debug": False}), pools=(pool("mpi", environment=["a", 'b "c"']),))
    assert """environment: ["a"] -> ["a", "b \\"c\\""]""" in compared(after, lock_of(before))
    [changed, _] = against_lock_output("demo", compare_with_lock([after], lock_of(before))).changes
    [field] = changed.fields
    assert field.path == "config"
    assert field.old.startswith("sha256:")
    assert field.new.startswith("sha256:")
    assert field.old != field.new


def test_renamed() -> None:
    before = desired(endpoint("old"), endpoint("b"))
    moves = (Moved("old", "between"), Moved("between", "new"))
    after = desired(endpoint("new", directory="old"), endpoint("b", directory="c"), moved=moves)
    says(
        compared(after, lock_of(before)),
        f"""
        Against the lock of stack demo:

          => endpoint old has moved to new  {uuid("old")}
          ~ endpoint b
              directory: "b" -> "c"

        Against the lock: 1 to change, 1 to rename.
        """,
    )
    assert compared(after, lock_of(after)).startswith("No changes")


def test_endpoints_of_every_host_are_compared() -> None:
    here = replace(desired(endpoint("a")), host=HostView("ursa"))
    there = replace(desired(endpoint("b")), host=HostView("hera"))
    assert "+ endpoint b on hera" in compared(here, lock_of(here), there)
    assert "endpoint a" not in compared(here, lock_of(here), there)
