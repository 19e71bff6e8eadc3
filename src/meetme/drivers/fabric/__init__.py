"""The fabric driver: a bridge for each circuit, VXLAN between switches, 802.1Q on ports where the kernel has it."""
