"""Random graphs that look for trouble: ties, constants, duplicates, hubs, isolated points, empty edges."""

from subsel.testing import VALUES, problems

__all__ = ["VALUES", "problems"]
