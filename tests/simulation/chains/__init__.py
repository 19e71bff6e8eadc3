"""Chains of composers in virtual time: random federations, everything that can go wrong, the invariants of signalling."""
