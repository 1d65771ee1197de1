"""What is measured on a network: accuracy, cost, latency."""
