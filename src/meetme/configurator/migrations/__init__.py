"""The history of the tables `configurator_*`."""
