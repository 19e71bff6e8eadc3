"""What things are: frozen values, addresses, the error tree. Nothing here does I/O or knows what time it is."""
