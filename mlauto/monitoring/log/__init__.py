"""The prediction log, read: in order, by query, and compacted once it is old."""
