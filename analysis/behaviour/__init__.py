"""Findings about the model's behaviour: the importance of hubs, and circuits of a behaviour."""
