"""How much of a client's images its uploads give away: attacks from the literature, measured."""
