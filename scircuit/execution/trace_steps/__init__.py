"""Steps of a trace run that `scircuit.execution.trace_run` puts in order."""
