"""Several hosts apply one manifest with one lock, and perhaps from one directory: nobody undoes another's work."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
import yaml

from tests.adapters.globus_stub import ENDPOINT
from tests.cli.support import HEAD, OTHER_ENDPOINT, Shell

FREE = "7c3f2ad5-52b4-4c34-b1b5-2d3a8c6f1e90"
HOSTS = {"ursa": 3, "hera": 7, "orion": 9}


def manifest(shell: Shell, hosts: dict[str, int], more: str = "") -> str:
    """Return a manifest of hosts that give pools their own `max_blocks`, with a pool of each kind."""
    lines = [
        f"  {name}: {{match: [nowhere], config_dir: {shell.base}/{name}, variables: {{cores: {blocks}}},"
        f" defaults: {{pool: {{max_blocks: {blocks}}}}}}}\n"
        for name, blocks in hosts.items()
    ]
    ids = (ENDPOINT, OTHER_ENDPOINT, FREE[:-1] + "1")
    endpoints = [
        f"  {name}-main: {{host: {name}, state: unmanaged, id: {endpoint_id}}}\n"
        for name, endpoint_id in zip(hosts, ids, strict=False)
    ]
    pools = [f"  at-{name}: {{endpoint: {name}-main, cores_per_node: '{{{{ cores }}}}'}}\n" for name in hosts]
    pools += [f"  free: {{endpoint: {FREE}, cores_per_node: '{{{{ cores }}}}'}}\n", "  here: {provider: localhost}\n"]
    return f"{HEAD}hosts:\n{''.join(lines)}endpoints:\n{''.join(endpoints)}pools:\n{''.join(pools)}{more}"


def files(shell: Shell) -> tuple[bytes, bytes]:
    return shell.lock.read_bytes(), shell.pools.read_bytes()


def settled(shell: Shell, *hosts: str) -> None:
    """Check that nothing is left to be done on any of the hosts, and that nothing is written again."""
    before = files(shell)
    for host in (*hosts, *hosts):
        assert shell.ok("plan", "--host", host, "--detailed-exitcode").says("No changes")
        shell.apply("--host", host)
        assert files(shell) == before
    shell.ok("plan", "--against", "lock", "--detailed-exitcode").says("No changes")


@pytest.mark.parametrize("order", list(permutations(HOSTS, 2)) + list(permutations(HOSTS, 3)))
def test_hosts_that_share_a_directory_settle(shell: Shell, order: tuple[str, ...]) -> None:
    shell.write(manifest(shell, {name: HOSTS[name] for name in sorted(order)}))
    for host in order:
        shell.apply("--host", host)
    settled(shell, *order)
    locked = yaml.safe_load(shell.lock.read_text())["pools"]
    for name in order:
        assert locked[f"at-{name}"]["max_blocks"] == HOSTS[name]
        assert {locked[pool]["hosts"][name]["max_blocks"] for pool in ("free", "here")} == {HOSTS[name]}
    pools = yaml.safe_load(shell.pools.read_text())
    assert {pools[name]["max_blocks"] for name in ("free", "here")} == {HOSTS[order[0]]}
    shell.ok("plan", "--host", order[1]).says(f"the pools file has `here` as the host {order[0]} wants it")
    assert "wants it" not in shell.ok("plan", "--host", order[0]).text


def test_hosts_with_clones_of_their_own_share_the_lock_alone(shell: Shell) -> None:
    shell.write(manifest(shell, {"ursa": 3, "hera": 7}))
    own: dict[str, bytes] = {}
    locks: list[bytes] = []
    for host in ("ursa", "hera") * 3:  # of the other host's UUIDs each learns in the second round
        shell.pools.unlink(missing_ok=True)
        if host in own:
            shell.pools.write_bytes(own[host])
        if len(locks) >= 4:
            shell.ok("plan", "--host", host, "--detailed-exitcode").says("No changes")
        shell.apply("--host", host)
        own[host] = shell.pools.read_bytes()
        locks.append(shell.lock.read_bytes())
        assert yaml.safe_load(own[host])["here"]["max_blocks"] == HOSTS[host]
    assert len(set(locks[1:])) == 1


def test_what_a_host_itself_changes_is_written(shell: Shell) -> None:
    shell.write(manifest(shell, {"ursa": 3, "hera": 7}))
    for host in ("ursa", "hera"):
        shell.apply("--host", host)
    shell.write(manifest(shell, {"ursa": 4, "hera": 7}))
    shell.ok("plan", "--against", "lock").says("~ pool at-ursa", "~ pool here on ursa", "~ pool free on ursa")
    shell.apply("--host", "hera")
    assert yaml.safe_load(shell.pools.read_text())["here"]["max_blocks"] == 3
    shell.ok("plan", "--host", "ursa").says("~ pool here", "max_blocks: 3 -> 4")
    shell.apply("--host", "ursa")
    assert yaml.safe_load(shell.pools.read_text())["here"]["max_blocks"] == 4
    settled(shell, "ursa", "hera")


def test_a_pool_that_goes_leaves_the_lock_with_the_last_host(shell: Shell) -> None:
    shell.write(manifest(shell, {"ursa": 3, "hera": 7}))
    for host in ("ursa", "hera"):
        shell.apply("--host", host)
    shell.write(manifest(shell, {"ursa": 3, "hera": 7}).partition("pools:")[0])
    shell.ok("plan", "--against", "lock").says("- pool at-hera", "- pool here", "4 to remove")
    shell.apply("--host", "ursa")
    assert set(yaml.safe_load(shell.lock.read_text())["pools"]) == {"at-hera", "free", "here"}
    shell.apply("--host", "hera")
    assert yaml.safe_load(shell.lock.read_text())["pools"] == {}
    settled(shell, "ursa", "hera")


def test_an_option_from_another_hosts_environment_is_as_that_host_had_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = "variables: {acct: {env: ACCT, default: none}}\n"
    text = manifest(shell, {"ursa": 3, "hera": 7}, variables)
    shell.write(text.replace("endpoint: hera-main,", "endpoint: hera-main, account: '{{ acct }}',"))
    for host in ("hera", "ursa", "hera", "ursa"):
        monkeypatch.setenv("ACCT", f"of-{host}")
        shell.apply("--host", host)
        assert yaml.safe_load(shell.pools.read_text())["at-hera"]["account"] == "of-hera"
        assert yaml.safe_load(shell.lock.read_text())["pools"]["at-hera"]["account"] == "of-hera"
    before = files(shell)
    shell.ok("plan", "--host", "ursa", "--detailed-exitcode").says("No changes")
    assert files(shell) == before


def without_hosts(locked: Path) -> None:
    """Make the lock what the first version wrote: one entry for each pool, as the last apply saw it."""
    lock = yaml.safe_load(locked.read_text())
    lock["pools"] = {name: entry.get("hosts", {}).get("hera", entry) for name, entry in lock["pools"].items()}
    locked.write_text(yaml.safe_dump(lock))


def no_other_host(locked: Path) -> None:
    """Let only ursa have applied so far."""
    lock = yaml.safe_load(locked.read_text())
    lock["pools"] = {name: lock["pools"][name] for name in ("at-ursa",)}
    locked.write_text(yaml.safe_dump(lock))


@pytest.mark.parametrize("happens", [without_hosts, no_other_host])
def test_locks_of_other_histories_settle(shell: Shell, happens: Callable[[Path], None]) -> None:
    shell.write(manifest(shell, {"ursa": 3, "hera": 7}))
    for host in ("ursa", "hera"):
        shell.apply("--host", host)
    happens(shell.lock)
    for host in ("ursa", "hera"):
        shell.apply("--host", host)
    settled(shell, "ursa", "hera")


def test_a_damaged_entry_of_a_pool_is_refused(shell: Shell) -> None:
    shell.write(manifest(shell, {"ursa": 3, "hera": 7}))
    shell.apply("--host", "ursa")
    lock = yaml.safe_load(shell.lock.read_text())
    lock["pools"]["here"] = {"hosts": {"hera": 3}}
    shell.lock.write_text(yaml.safe_dump(lock))
    shell.refused("plan", "--host", "ursa", code=4, says=("damaged at `pools`", "`hosts` of here"))
