"""Signal and noise: the floor of an image, how far its light is raised, and its cleaning."""
