"""Bounding: accept points that are in every optimum, discard points that are in none."""
