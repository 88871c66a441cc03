"""Continuous integration: git, checks in a sandbox, the verdict."""
