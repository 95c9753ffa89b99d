"""Models behind one protocol: adapters of what users have, and models whose weights are set."""
