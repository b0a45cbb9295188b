"""The lockfile: the same bytes for the same content, lines that merge, and nothing of a secret."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.desired import TextFile
from reconciler.core.lock import Lock, LockedEndpoint, emit_lock, lock_entry, read_lock
from reconciler.core.pool_sharing import locked_pools
from reconciler.errors import StateFileError
from tests.core.builders import LINEAGE, SITE, STACK, desired, endpoint, pool, uuid

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
OPTIONS = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3)


def entry(name: str, **changes: Any) -> LockedEndpoint:
    claim = SITE.claim(changes.pop("directory", name)).model_copy(update={"host": changes.pop("host", None)})
    return lock_entry(endpoint(name, **changes), claim, uuid(name))


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    """Draw a lock with names and values that YAML readers trip over."""
    names = draw(st.lists(TEXT | st.sampled_from(["yes", "1", "0123", "1e3", "~", "a: b"]), max_size=4, unique=True))
    states = st.sampled_from(["running", "stopped", "unmanaged"])
    entries = {n: entry("x", directory=draw(TEXT), host=draw(st.none() | TEXT), state=draw(states)) for n in names}
    pools = draw(st.dictionaries(TEXT, st.dictionaries(TEXT, OPTIONS, max_size=3), max_size=3))
    return Lock(stack=draw(TEXT), lineage=LINEAGE, endpoints=entries, pools=pools)


@given(locks())
def test_reading_what_was_written_gives_the_same_and_writing_that_the_same_bytes(lock: Lock) -> None:
    text = emit_lock(lock)
    assert read_lock(text, "lock") == lock
    assert emit_lock(read_lock(text, "lock")) == text


@given(locks(), st.randoms(use_true_random=False))
def test_order_of_insertion_makes_no_difference(lock: Lock, random: Any) -> None:
    def shuffled(mapping: dict[str, Any]) -> dict[str, Any]:
        names = list(mapping)
        random.shuffle(names)
        return {name: mapping[name] for name in names}

    other = lock.model_copy(update={"endpoints": shuffled(lock.endpoints), "pools": shuffled(lock.pools)})
    assert emit_lock(other) == emit_lock(lock)


def test_text() -> None:
    lock = Lock(stack=STACK, lineage=LINEAGE, pools=locked_pools(desired(pools=(pool("mpi", mpi=True),))))
    wanted = endpoint(protect=True, schema=None, template=TextFile("mine.j2", "x"))
    text = emit_lock(lock.with_endpoint("main", lock_entry(wanted, SITE.claim("main"), None)))
    digests = [line.strip() for line in text.splitlines() if "sha256" in line]
    assert [line.partition(":")[0] for line in digests] == ["config", "template", "user_environment"]
    assert "\n".join(line for line in text.splitlines() if "sha256" not in line) == (
        "# Resolved by chiltepin. Commit it; change the manifest instead of this file.\n"
        "version: 1\nstack: hrrr\nlineage: 1ea6e\nendpoints:\n  main:\n    id: null\n    claim:\n"
        "      service: production\n      identity: me\n      user: jdoe\n      host: null\n"
        "      config_dir: ~/.globus_compute\n      directory: main\n    state: running\n    protect: true\n"
        "    digests:\n      schema: none\npools:\n  mpi:\n    cores_per_node: 1\n    endpoint: main\n    mpi: true"
    )


def merged(folder: Path, *locks: Lock) -> tuple[int, str]:
    """Merge (ours, base, theirs) as git does; return the number of conflicts and the text."""
    for name, lock in zip(("ours", "base", "theirs"), locks, strict=True):
        (folder / name).write_text(emit_lock(lock))
    done = subprocess.run(
        ["git", "merge-file", "-p", "ours", "base", "theirs"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_changes_of_two_hosts_merge_in_git(tmp_path: Path) -> None:
    base = Lock(stack=STACK, lineage=LINEAGE, endpoints={n: entry(n) for n in ("a-ursa", "b-hera", "c-ursa", "d-hera")})
    ursa = base.with_endpoint("a-ursa", entry("a-ursa", state="stopped", config={})).without_endpoint("c-ursa")
    hera = base.with_endpoint("b-hera", entry("b-hera", protect=True)).with_endpoint("e-hera", entry("e-hera"))
    expected = hera.with_endpoint("a-ursa", ursa.endpoints["a-ursa"]).without_endpoint("c-ursa")
    assert merged(tmp_path, ursa, base, hera) == (0, emit_lock(expected))


def test_changes_of_one_endpoint_conflict_and_the_result_is_refused(tmp_path: Path) -> None:
    base = Lock(stack=STACK, lineage=LINEAGE, endpoints={"main": entry("main")})
    ours, theirs = (base.with_endpoint("main", entry("main", config={"x": x})) for x in (1, 2))
    conflicts, text = merged(tmp_path, ours, base, theirs)
    assert conflicts == 1
    with pytest.raises(StateFileError, match="merge conflict"):
        read_lock(text, "lock")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\nstack: s\nlineage: l\n", "version 2"),
        ("<<<<<<< ours\nversion: 1\n=======\nversion: 1\n>>>>>>> theirs\n", "merge conflict"),
        ("version: 1\nstack: s\nlineage: l\nendpoints: {main: {id: null}}\n", "endpoints.main"),
        ("version: 1\nstack: s\nlineage: l\nmore: 1\n", "more"),
        ("version: 1\nlineage: 2024-99-99\n", "YAML"),
        ("[", "YAML"),
        ("- 1\n", "mapping"),
        ("", "mapping"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_the_place_and_a_remedy(text: str, said: str) -> None:
    with pytest.raises(StateFileError) as caught:
        read_lock(text, "chiltepin.lock.yaml")
    assert said in str(caught.value)
    assert "chiltepin.lock.yaml" in str(caught.value)
    assert caught.value.remedy


def test_nothing_of_a_secret_is_in_the_lock() -> None:
    def locked(value: str) -> str:
        wanted = endpoint(user_environment={"TOKEN": value, "A": "1"}, sensitive=frozenset({"TOKEN"}))
        return lock_entry(wanted, SITE.claim("main"), None).model_dump_json()

    assert locked("one") == locked("two")  # not even a digest
    plain = endpoint(user_environment={"A": "2"})
    assert lock_entry(plain, SITE.claim("main"), None).model_dump_json() != locked("one")


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"debug": False}},
        {"template": TextFile("builtin@2", "x")},
        {"template": TextFile("mine.j2", "x")},
        {"schema": None},
        {"user_environment": {"A": "1"}},
        {"state": "stopped"},
        {"protect": True},
    ],
)
def test_what_the_manifest_changes_shows_in_the_lock(changes: dict[str, Any]) -> None:
    assert entry("main", **changes) != entry("main")
