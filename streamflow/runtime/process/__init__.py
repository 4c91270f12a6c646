"""One process of a run: its stages, the links between them and to others, and what it asks of the machine."""
