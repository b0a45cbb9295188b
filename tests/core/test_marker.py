"""The marker: what it holds, and that it reads back."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from reconciler.core.marker import Marker
from tests.core.builders import applied, endpoint, uuid

WANTED = endpoint(user_environment={"TOKEN": "hunter22"}, sensitive=frozenset({"TOKEN"}))


def marker() -> Marker:
    found = applied(WANTED).marker
    assert isinstance(found, Marker)
    return found


def test_it_reads_back() -> None:
    assert Marker.model_validate_json(marker().model_dump_json()) == marker()


def test_it_holds_no_secret_but_the_names_of_secrets() -> None:
    text = marker().model_dump_json()
    assert "hunter" not in text
    assert marker().files["user_environment.yaml"].sensitive == ("TOKEN",)


def test_a_marker_of_an_earlier_version_without_names_of_secrets_is_read() -> None:
    document = json.loads(marker().model_dump_json())
    del document["files"]["user_environment.yaml"]["sensitive"]
    assert Marker.model_validate(document).files["user_environment.yaml"].sensitive == ()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        Marker.model_validate({**json.loads(marker().model_dump_json()), "more": 1})


def test_it_is_not_changed_in_place() -> None:
    before = marker()
    assert before.but(protect=True) != before
    with pytest.raises(ValidationError):
        before.protect = True  # type: ignore[misc]


@pytest.mark.parametrize("written", [uuid("j"), uuid("j").upper(), uuid("j").replace("-", ""), f"{{{uuid('j')}}}"])
def test_a_uuid_is_the_same_however_it_is_written(written: str) -> None:
    claim = marker().claim.model_copy(update={"identity": "HERE"})
    text = marker().but(id="HERE", claim=claim).model_dump_json().replace("HERE", written)
    read = Marker.model_validate_json(text)
    assert (read.id, read.claim.identity) == (uuid("j"), uuid("j"))
