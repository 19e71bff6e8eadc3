"""The only door to a device. A driver renders an intent (pure), reads what is there, and applies the difference."""
