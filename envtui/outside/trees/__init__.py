"""Trees of runbooks on disk: strict YAML, the checks across trees, and what this user has accepted. Imports: core, PyYAML."""
