"""Continuous training: arriving data, its quality, the training set, the fit, the registry, the policy."""
