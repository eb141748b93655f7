"""The door without a screen: stdout is data, stderr is narration, the exit code says how it ended.

A file for each group of commands, with `add(parser)` and `run(args)`. May import: engine, rules, core, compose.
"""
