"""The parts of one machine, as processes that are looked after."""
