"""The gate before Great Expectations: what it can prove of a batch in one pass over its columns."""
