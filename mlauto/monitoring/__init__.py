"""Continuous monitoring: the prediction log, metrics, the judge, incidents."""
