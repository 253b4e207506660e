"""Structure of a circuit: attenuation with depth, signs, inequality and stability of degrees,
modules, motifs, and the order of features.
"""
