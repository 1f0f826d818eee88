"""Bases: frozen extractors of features, computed from a generator's images or imported."""
