"""Chains of composers in virtual time: random federations, all that can go wrong, what signalling promises."""
