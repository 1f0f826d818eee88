"""The cloud side: the aggregator, the generator service and the operator."""
