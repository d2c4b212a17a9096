"""What watches backupd, tried with real Prometheus, Alertmanager and Grafana's own types."""
