"""Names of endpoints: our rule is globus-compute-endpoint's, and a little stricter."""

from pathlib import Path

import pytest
from globus_compute_endpoint.endpoint.endpoint import Endpoint
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.names import MAX_BYTES, TOKENS, canonical_uuid, is_uuid, name_fault, pool_name_fault


def upstream_accepts(name: str) -> bool:
    try:
        Endpoint.validate_endpoint_name(name)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "it is empty"),
        ("a" * 129, "it has 129 characters; the limit is 128"),
        ("a b", "it contains white space"),
        (" a", "it contains white space"),
        ("a\tb", "it contains white space"),
        ("../up", "it contains a slash"),
        ("/etc", "it contains a slash"),
        ("a\\b", "it contains a backslash"),
        ("it's", "it contains a quote"),
        ('a"b', "it contains a quote"),
        ("..", "it begins with a dot"),
        (".hidden", "it begins with a dot"),
    ],
)
def test_names_that_upstream_refuses_too(name: str, fault: str) -> None:
    assert name_fault(name) == fault
    assert not upstream_accepts(name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a", "it looks like a UUID"),
        ("5f1c7ad23f0a4a4e9d7e0f1e2d3c4b5a", "it looks like a UUID"),
        ("-c", "it begins with a hyphen and would be read as an option"),
        ("a\x07", "it contains an unprintable character"),
        ("uep.x.y", "`uep.` is reserved for the directories of user endpoints"),
        ("storage.db", "the config directory's store of logins is called so"),
    ],
)
def test_names_that_would_not_survive_the_command_line(name: str, fault: str) -> None:
    assert name_fault(name) == fault


@pytest.mark.parametrize("letter", ["\u00fc", "\u65e5", "\U0001f600"])
def test_a_name_leaves_room_for_what_files_append_to_it(letter: str, tmp_path: Path) -> None:
    most = 200 // len(letter.encode())
    for fault in (name_fault, pool_name_fault):
        assert fault(min(most, 128) * letter) is None
        said = fault((most + 1) * letter)
        assert said is not None
        assert "bytes; the limit is 200" in said
    longest = most * letter
    appended = (f"{longest}~20261121T064948Z-33d7187a", f".going-{longest}~20261121T064948Z-33d7187a")
    scripts = (f"parsl.{longest}.block-12345.1764326167.1234567.submit.stderr",)
    for name in (*appended, *scripts):
        (tmp_path / name).touch()


@pytest.mark.parametrize("name", ["main", "ursa-main", "a", "1", "a.b", "x" * 128, "\u00fcber", "~x", "$x"])
def test_good_names(name: str) -> None:
    assert name_fault(name) is None
    assert upstream_accepts(name)


@given(st.text(alphabet="ab./\\ '\"~\t\u00e9-_1", max_size=8) | st.text(max_size=140))
@example("_parsl_internal")
@example("5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a")
@example("storage.db")
def test_what_we_accept_upstream_accepts(name: str) -> None:
    """Hypothesis also draws what stands in the code as a text of its own."""
    stricter = not name.isprintable() or name == TOKENS or is_uuid(name) or len(name.encode()) > MAX_BYTES
    if name_fault(name) is None:
        assert upstream_accepts(name)
        assert (pool_name_fault(name) is None) is (name != "_parsl_internal")
    elif not stricter and not name.startswith(("-", "uep.")):
        assert not upstream_accepts(name)


def test_uuids_are_written_in_their_usual_form() -> None:
    assert canonical_uuid("{5F1C7AD23F0A4A4E9D7E0F1E2D3C4B5A}") == "5f1c7ad2-3f0a-4a4e-9d7e-0f1e2d3c4b5a"
    assert canonical_uuid("main") is None
