"""The dialogs of the terminal interface."""
