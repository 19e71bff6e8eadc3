"""The Linux kernel, as the drivers for it share it: netlink, tables as values, namespaces, the programs."""
