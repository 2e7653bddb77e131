"""The commands: list, run, verify, reproduce, sweep."""
