"""What a simulation is asked to do, checked before anything runs."""

from simulations.settings.data import CLIENTS as CLIENTS
from simulations.settings.data import ComputeSettings as ComputeSettings
from simulations.settings.data import DataSettings as DataSettings
from simulations.settings.data import Whole as Whole
from simulations.settings.run import RunSettings as RunSettings
from simulations.settings.run_fields import HyperparameterWords as HyperparameterWords
from simulations.settings.run_fields import PrivacyWords as PrivacyWords
from simulations.settings.words import parse_options as parse_options
from simulations.settings.words import parse_privacy as parse_privacy
from simulations.settings.words import parse_workers as parse_workers
