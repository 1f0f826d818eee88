"""Reports, of a demo or of simulated runs: one HTML file that needs no network."""

from simulations.report.page import render
from simulations.report.reading import read_demo
from simulations.report.report_data import Device, ReportData, Round, Timing, Traffic

__all__ = ["Device", "ReportData", "Round", "Timing", "Traffic", "read_demo", "render"]
