"""The door with screens, in Textual. May import: engine, rules, core, compose."""
