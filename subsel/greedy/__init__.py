"""Greedy: the subset that centralised greedy picks, part by part."""
