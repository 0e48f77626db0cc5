"""The REST face: products, imports, and the paths of the service that this one replaces."""
