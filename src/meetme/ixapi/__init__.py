"""Orders at an exchange (IX-API 2.x): what a composer asks of one, and an exchange of our own that answers."""
