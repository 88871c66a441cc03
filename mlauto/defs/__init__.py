"""One folder per model product, each with its `defs.yaml`."""
