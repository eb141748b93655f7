"""A library without what it loads besides what is used of it.

Starting a run is mostly importing, and an on-call engineer starts many. A lean package is imported without its `__init__`, named
module by module; when somebody asks the package itself for a name, its `__init__` runs after all, and nothing is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec


def lean(package: str, **names: object) -> None:
    """Make the modules of `package` importable without its `__init__`; `names` stand in it from the beginning.

    Does nothing when it is imported already, or is no ordinary package. Raises nothing.
    """
    spec = None if package in sys.modules else find_spec(package)
    if spec is None or spec.loader is None or spec.submodule_search_locations is None:
        return
    loader = spec.loader
    module = module_from_spec(spec)

    def missing(name: str) -> object:
        if name.startswith("__") or find_spec(f"{package}.{name}") is not None:
            raise AttributeError(name)  # `from package import module` asks first, and then imports it
        del module.__getattr__
        loader.exec_module(module)
        return getattr(module, name)

    module.__dict__.update(names, __getattr__=missing)
    sys.modules[package] = module


@contextmanager
def without(module: str) -> Iterator[None]:
    """Inside it `module` cannot be imported, unless it is already: for what a library can do without."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own way to say: not there
    try:
        yield
    finally:
        del sys.modules[module]
