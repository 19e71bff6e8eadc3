"""The history of the tables `negotiator_*`."""
