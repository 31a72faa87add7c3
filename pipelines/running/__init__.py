"""The parts of a run that `pipelines.run` puts together."""
