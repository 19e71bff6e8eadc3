"""The Linux driver: one network namespace per circuit, translation at the edge of the circuit and nowhere else."""
