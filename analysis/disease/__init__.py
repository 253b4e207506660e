"""Where the features of disease gene sets sit in a circuit."""
