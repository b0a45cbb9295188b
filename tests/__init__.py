"""The tests: `make test`. A package, because a dependency ships one of that name, too."""
