"""Runs the papers' tables again, cell by cell, and puts the numbers beside the published ones."""
