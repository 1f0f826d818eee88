"""How a model learns on a machine: the inner loops, many models in one step, where it computes."""
