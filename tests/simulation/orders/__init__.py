"""Orders between several members: the real catalogue over circuits and negotiations that fate plays with."""
