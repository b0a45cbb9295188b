"""Our frozen dataclasses behave as those of the standard library do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any, ClassVar

import pytest

from reconciler.core import frozen


@frozen.dataclass(frozen=True)
class Ours:
    """One of ours."""

    name: str
    secret: str = field(repr=False)
    sizes: tuple[int, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    kind: ClassVar[str] = "ours"


@frozen.dataclass(frozen=True)
class Longer(Ours):
    more: int = 0


@dataclass(frozen=True)
class Theirs:
    """One of the standard library's."""

    name: str
    secret: str = field(repr=False)
    sizes: tuple[int, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


@frozen.dataclass(frozen=True, kw_only=True)
class Named:
    one: int
    two: int = 2

    def __repr__(self) -> str:
        return "its own"


def test_they_compare_by_class_and_fields() -> None:
    assert Ours("a", "s") == Ours("a", "s")
    assert Ours("a", "s") != Ours("a", "t")
    assert Ours("a", "s") != Longer("a", "s")
    assert Ours("a", "s") != Theirs("a", "s")
    assert Ours("a", "s").__eq__(Theirs("a", "s")) is NotImplemented


def test_equal_ones_have_one_hash() -> None:
    assert hash(Named(one=1)) == hash(Named(two=2, one=1))
    assert len({Named(one=1), Named(one=1, two=2), Named(one=3)}) == 2
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError, match="unhashable type: 'dict'"):
            hash(kind("a", "s"))


def test_what_is_shown_leaves_out_what_is_secret() -> None:
    assert repr(Ours("a", "s")) == repr(Theirs("a", "s")).replace("Theirs", "Ours")
    assert "secret" not in repr(Ours("a", "hidden"))
    assert repr(Named(one=1)) == "its own"


@pytest.mark.parametrize("kind", [Ours, Theirs, Longer])
def test_they_cannot_be_changed(kind: Any) -> None:
    made = kind("a", "s")
    for attempt in (
        lambda: setattr(made, "name", "b"),
        lambda: setattr(made, "unknown", 1),
        lambda: setattr(made, "kind", "other"),
        lambda: delattr(made, "name"),
    ):
        with pytest.raises(FrozenInstanceError):
            attempt()
    assert made == kind("a", "s")


def test_all_else_is_the_standard_librarys() -> None:
    made = Longer("a", "s", (1,), more=3)
    assert replace(made, name="b") == Longer("b", "s", (1,), more=3)
    assert [f.name for f in dataclasses.fields(Longer)] == ["name", "secret", "sizes", "notes", "more"]
    assert dataclasses.asdict(made) == {"name": "a", "secret": "s", "sizes": (1,), "notes": {}, "more": 3}
    assert made.notes is not Longer("a", "s").notes
    match made:
        case Ours(name, "s", (one,)):
            assert (name, one) == ("a", 1)
    for copied in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert copied == made
        with pytest.raises(FrozenInstanceError):
            copied.name = "b"


def test_what_is_missing_or_unknown_is_refused() -> None:
    makers: list[Any] = [lambda: Ours("a"), lambda: Ours("a", "s", unknown=1), lambda: Named(1)]  # type: ignore
    for make in makers:
        with pytest.raises(TypeError):
            make()


@pytest.mark.parametrize("option", [{"compare": False}, {"hash": False}, {"init": False}])
def test_fields_that_would_be_left_out_are_refused(option: dict[str, bool]) -> None:
    with pytest.raises(TypeError, match="every field of these is compared"):

        @frozen.dataclass(frozen=True)
        class Odd:
            one: int = field(default=0, **option)  # type: ignore[call-overload]


def test_only_frozen_ones_are_made() -> None:
    with pytest.raises(TypeError, match="only frozen dataclasses"):
        frozen.dataclass(frozen=False)
