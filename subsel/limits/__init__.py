"""Limits of a selection beyond its size: a budget, quotas of groups, how similar two selected points may be."""
