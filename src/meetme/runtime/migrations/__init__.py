"""The history of the tables `runtime_*`."""
