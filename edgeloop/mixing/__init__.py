"""How much a device believes the others: its own scores mixed with everybody's; needs no torch."""
