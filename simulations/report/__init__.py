"""Reports, of a demo or of simulated runs: one HTML file that needs no network."""

from simulations.report.page import render
from simulations.report.reading import read_demo
from simulations.report.report_data import Device, Round, Story, Timing, Traffic

__all__ = ["Device", "Round", "Story", "Timing", "Traffic", "read_demo", "render"]
