"""Do dictionaries describe the model: variance explained, loss recovered, layer match, rotated
null.
"""
