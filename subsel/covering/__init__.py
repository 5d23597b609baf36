"""Coverage: facility location on the neighbour graph (README.md)."""
