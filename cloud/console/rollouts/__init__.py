"""Roll-outs: what the cloud ships to devices, group by group, with thresholds."""
