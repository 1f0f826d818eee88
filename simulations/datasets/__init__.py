"""Data sets from the outside: what there is, fetching it, looking at it."""
