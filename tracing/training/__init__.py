"""Training of TopK sparse autoencoders on streamed activations."""
