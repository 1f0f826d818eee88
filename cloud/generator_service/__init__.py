"""Generators for the cloud: fetched, imported, shown, and served by Triton."""
