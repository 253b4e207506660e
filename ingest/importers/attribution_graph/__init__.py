"""Attribution graphs of circuit-tracer and Neuronpedia as records."""
