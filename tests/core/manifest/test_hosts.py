"""Which host is this machine: what matches, and that nothing or two things matching is refused."""

from pathlib import Path

import pytest

from reconciler.core.live import Unknown
from reconciler.core.manifest.hosts import Machine, local_host
from reconciler.core.manifest.model import HostBlock
from reconciler.errors import Refused, UsageError
from reconciler.invocation import path_of_host

NODE = Machine("UFE01", "ufe01.rdhpcs.noaa.gov", "ursa")


def host(*match: object) -> HostBlock:
    return HostBlock.model_validate({"match": list(match)} if match else {})


def find(
    *, override: str | None = None, machine: Machine = NODE, env: dict[str, str] | None = None, **hosts: HostBlock
):
    return local_host(hosts, machine, env or {}, override=override, file="m.yaml")


def test_without_a_hosts_section_everything_is_local() -> None:
    assert find() is None


@pytest.mark.parametrize(
    "match",
    [
        ["ufe*.rdhpcs.noaa.gov"],
        ["ufe01"],
        ["UFE0[12]"],
        ["other", "ufe??"],
        [{"env": "SITE=ursa"}],
        [{"env": "SITE=u*"}],
        [{"env": "EMPTY="}],
        [{"cluster": "ursa"}],
    ],
)
def test_what_matches(match: list[object]) -> None:
    assert find(env={"SITE": "ursa", "EMPTY": ""}, a=host(*match), b=host("elsewhere")) == "a"


@pytest.mark.parametrize(
    "match", [["ufe"], ["*.noaa"], [{"env": "SITE=hera"}], [{"env": "NOT="}], [{"cluster": "hera"}]]
)
def test_what_does_not_match(match: list[object]) -> None:
    with pytest.raises(Refused):
        find(env={"SITE": "ursa"}, a=host(*match))


def test_without_match_the_name_is_the_machine() -> None:
    assert find(ufe01=host(), ufe02=host()) == "ufe01"


def test_a_slurm_that_cannot_be_asked_is_named_where_no_host_matches() -> None:
    machine = Machine("ufe01", "ufe01.rdhpcs.noaa.gov", Unknown("scontrol failed: no route"))
    assert find(machine=machine, a=host({"cluster": "*"}), b=host("ufe*")) == "b"
    with pytest.raises(Refused) as raised:
        find(machine=machine, a=host({"cluster": "ursa"}), b=host("y*"))
    assert str(raised.value) == (
        "m.yaml: no host matches this machine\n"
        "  this machine is ufe01, ufe01.rdhpcs.noaa.gov; its Slurm cluster is not known, as Slurm could not be asked:"
        " scontrol failed: no route; hosts: a (match: cluster ursa), b (match: y*)\n"
        "  next: say which one with --host NAME; on its nodes, see that `scontrol show config` answers here"
    )


def test_none_matching_is_refused_with_the_names_tried() -> None:
    with pytest.raises(Refused) as raised:
        find(a=host("x*"), b=host("y*"))
    assert str(raised.value) == (
        "m.yaml: no host matches this machine\n"
        "  this machine is UFE01, ufe01.rdhpcs.noaa.gov, Slurm cluster ursa; hosts: a (match: x*), b (match: y*)\n"
        "  next: correct `match`, or say which one with --host NAME"
    )


def test_two_matching_are_refused_by_name() -> None:
    with pytest.raises(Refused, match="two hosts match this machine: a, c"):
        find(a=host("ufe*"), b=host("y*"), c=host({"cluster": "ursa"}))


def test_a_cluster_never_matches_where_there_is_none() -> None:
    with pytest.raises(Refused):
        find(machine=Machine("x", "x"), a=host({"cluster": "*"}))


def test_override() -> None:
    assert find(override="b", a=host("ufe*"), b=host("y*")) == "b"
    with pytest.raises(UsageError, match="did you mean `ursa`") as raised:
        find(override="usra", ursa=host("x"))
    assert raised.value.exit_code == 64
    with pytest.raises(UsageError, match="no `hosts` section"):
        find(override="b")


def test_a_path_that_renders_to_nothing_is_not_the_manifests_own_directory() -> None:
    assert path_of_host("", Path("/project/chiltepin.yaml")) == ""
    assert path_of_host("gc", Path("/project/chiltepin.yaml")) == "/project/gc"
