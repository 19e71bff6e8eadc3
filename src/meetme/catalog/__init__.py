"""Who offers what in the federation, and the orders that lead from a click to packets (thesis section 7.5)."""
