"""The Dagster rind: assets, checks, sensors, the graph of a product, the component over it, the run launcher."""
