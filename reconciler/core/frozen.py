"""Frozen dataclasses that are cheap to make: a plan makes some 135 before it does anything.

For each, `dataclasses` writes, compiles and runs six functions, which takes 0.4 ms; five of them need not differ
between classes. These classes have those five in common and only the `__init__` of `dataclasses`, which makes them
in 0.1 ms. All else is `dataclasses`' own: `fields`, `replace`, `asdict`, `field(...)`, pattern matching. The numbers
are in docs/design.md.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers they are the standard library's; `as` is how mypy wants it passed on.
    from dataclasses import dataclass as dataclass  # noqa: PLC0414
else:

    def dataclass(*, frozen: bool, kw_only: bool = False):
        """Make a frozen dataclass of a class; every field takes part in comparisons.

        Raises:
            TypeError: it is not to be frozen, or a field is to be left out of comparisons or of `__init__`:
                `dataclasses` has a decorator for those.
        """
        if not frozen:
            raise TypeError("only frozen dataclasses are made here")

        def made(cls):
            # Without a docstring, `dataclasses` writes one of the signature, which takes longer than all the rest.
            cls.__doc__ = cls.__doc__ or cls.__name__
            cls = dataclasses.dataclass(eq=False, repr=False, kw_only=kw_only)(cls)
            own = dataclasses.fields(cls)
            if not all(f.compare and f.init and f.hash is None for f in own):
                raise TypeError("every field of these is compared, hashed and given to __init__")
            cls.__field_names__ = tuple(f.name for f in own)
            for method in (__eq__, __hash__, __repr__, __setattr__, __delattr__):
                if method.__name__ not in cls.__dict__:
                    setattr(cls, method.__name__, method)
            return cls

        return made


def __eq__(self: Any, other: object) -> Any:
    # An instance has no attributes but its fields: __setattr__ sees to it.
    return self.__dict__ == other.__dict__ if other.__class__ is self.__class__ else NotImplemented


def __hash__(self: Any) -> int:
    return hash(tuple([getattr(self, name) for name in self.__field_names__]))


def __repr__(self: Any) -> str:
    shown = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr]
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def __setattr__(self: Any, name: str, value: Any) -> None:
    if name in self.__dict__ or name not in self.__field_names__:  # __init__ sets each field once
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r} of {self.__class__.__name__}")
    self.__dict__[name] = value


def __delattr__(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r} of {self.__class__.__name__}")
