"""Continuous delivery: the image, its verification, rollout and rollback."""
