"""Embeddings: from points to a symmetric neighbour graph."""
