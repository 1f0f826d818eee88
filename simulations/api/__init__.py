"""Simulations from Python: what `import edgeloop` gives, and what the command is a layer on."""

from simulations.api.compared import Comparison as Comparison
from simulations.api.compared import compare as compare
from simulations.api.experiment import simulate as simulate
from simulations.api.generators import load_generator as load_generator
from simulations.api.run import Run as Run
from simulations.api.run import execute as execute
from simulations.api.scenario import Scenario as Scenario
