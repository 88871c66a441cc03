"""The prediction log as it is written, and when it is on the disk."""
