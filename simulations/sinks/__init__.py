"""Where a run's numbers go beside its folder: TensorBoard, MLflow."""

from simulations.sinks.sink import Guarded, Sink, guarded, parse_sinks

__all__ = ["Guarded", "Sink", "guarded", "parse_sinks"]
