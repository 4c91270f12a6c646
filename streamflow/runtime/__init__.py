"""What runs: nodes as actors, processes, and the supervisor that starts, watches and ends them."""
