"""Reference models of every architecture family: one file a family, registered by being there."""
