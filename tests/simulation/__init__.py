"""Two members in one process, in virtual time, with everything going wrong that can: see `world`."""
