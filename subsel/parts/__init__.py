"""Parts: what happens inside one part of a graph that is spread over many, and what parts tell each other.

Pure functions from packed arrays to packed arrays. An engine that has many parts moves the packs; nothing here knows
how. `superstep` runs kernels, `assemble` builds part graphs, `route` finds neighbours across parts.
"""
