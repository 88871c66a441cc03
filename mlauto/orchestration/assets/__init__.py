"""The assets of one product, a module per principle: each is a shell over one function of `orchestration.steps`."""
