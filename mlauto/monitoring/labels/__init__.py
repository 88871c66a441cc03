"""Labels: how they arrive, and how they find the predictions that they belong to."""
