"""The three sensors of a code location. Each serves all products and compares what is wanted with what is there."""
