"""Two versions on the same rows: whether one predicts worse, tested so that one may look at any time."""
