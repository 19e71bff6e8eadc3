"""The history of the tables `ixapi_*`."""
