"""Fuzzing of whatever comes from outside: see `tests.fuzz.targets` and `make fuzz`."""
