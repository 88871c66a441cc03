"""How a plan's trees lie in their arrays: the constants that compiler, checks and walkers share."""

import numpy as np

__all__ = ["CATEGORY", "LEAF", "MISSING_LEFT", "NODE", "WORDS"]

NODE = np.dtype(
    [("threshold", "<f8"), ("left", "<i4"), ("right", "<i4"), ("feature", "<i4"), ("flags", "<u4")], align=True
)
LEAF = 1
MISSING_LEFT = 2
CATEGORY = 4
WORDS = 8  # of 32 bits, for the 256 categories of one column
