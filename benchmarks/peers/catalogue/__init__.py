"""The catalogue as an app of the peers that need Django."""
