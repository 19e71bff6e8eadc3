"""An agent obeys: turns a link's intent into the configuration of one device, keeps it so, and takes it back."""
