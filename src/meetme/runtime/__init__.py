"""The outside world, one file for each thing touched: the clock, the database, the network, keys, logs."""
