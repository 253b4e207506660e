"""The verbs that intervene on the model of a trace run."""
