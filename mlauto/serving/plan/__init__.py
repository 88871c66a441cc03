"""A compiled model: a fitted pipeline as plain data, executed with numpy and a small C library; no scikit-learn."""
