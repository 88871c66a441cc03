"""The processes that answer users: how they begin, share, hand over and follow one another."""
