"""envtui: runbooks for dev, staging and production in a terminal."""

__version__ = "0.1.0"
