"""Where a run's numbers go beside its folder: TensorBoard, MLflow."""

from simulations.sinks.sink import GuardedSinks, Sink, open_guarded, parse_sinks

__all__ = ["GuardedSinks", "Sink", "open_guarded", "parse_sinks"]
