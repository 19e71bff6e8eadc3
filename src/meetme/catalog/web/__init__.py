"""The web page of the catalog server: rendered here, live with a little script, whole without any."""
