"""Drift: a reference profile fitted at training, a window's counts, and tests whose alarms can be trusted."""
