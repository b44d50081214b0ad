"""Numbers of running streams for Prometheus."""
