"""The money rules, pure: standard library only, no clock, no log, no I/O."""
