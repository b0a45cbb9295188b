"""A plan of root says that globus-compute-endpoint wants a contact address before it starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.desired import CONFIG
from tests.core.builders import HOST, Scene, applied, edited, empty, endpoint, settled

ROOT = replace(HOST, user="root", uid=0)
MAIL = {"debug": True, "email": "root@example.org"}
STOPPED = applied(endpoint(), running=False)


def notes(scene: Scene) -> tuple[str, ...]:
    return tuple(note.text for note in scene.sees(host=ROOT).plan().notes)


def test_root_is_warned_before_a_first_start() -> None:
    scene = empty(endpoint())
    [note] = notes(scene)
    assert note.startswith("warning: you are root")
    assert "unshare --user" in note
    assert scene.plan().notes == (), "an ordinary user is not warned"


def test_root_is_warned_before_any_start_without_email() -> None:
    [note] = notes(settled(endpoint()).has(STOPPED))
    assert note.startswith("warning: you are root")


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(empty(endpoint(config=MAIL)), id="the manifest has an email"),
        pytest.param(settled(endpoint(config=MAIL)).has(STOPPED), id="and a file is rewritten"),
        pytest.param(settled(endpoint()).has(edited(STOPPED, CONFIG, MAIL)), id="somebody wrote an email"),
        pytest.param(empty(endpoint(state="stopped")), id="nothing starts"),
        pytest.param(settled(endpoint()), id="it runs"),
    ],
)
def test_root_is_not_warned_when(scene: Scene) -> None:
    assert notes(scene) == ()
