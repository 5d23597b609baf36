"""Graphs that grow: new points join, old ones leave, and nothing else is searched again."""
