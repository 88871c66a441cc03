"""What `mlauto ...` does, one module per command; `mlauto.cli` only parses."""
