"""Contact maps, and the energies of a hand at an object."""
