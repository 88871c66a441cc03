"""What arrives: files as typed frames, validated, accepted or kept waiting."""
