"""What people watch with, derived from the products' YAML: Prometheus, Alertmanager, Grafana. Text in, nothing run."""
