"""A package without its `__init__`, for a library that loads much more there than is used of it.

Starting a run is mostly importing, and an on-call engineer starts many. What is imported of such a package is named module
by module; when somebody asks the package itself for a name, its `__init__` runs after all, and nothing is missing.
"""

from __future__ import annotations

import sys
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
