"""The history of the tables `composer_*`."""
