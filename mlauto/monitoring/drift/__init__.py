"""Drift: a reference profile fitted at training, counts of a window against it, and tests whose alarms can be trusted."""
