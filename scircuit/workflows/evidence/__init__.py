"""The verbs that hold results against evidence from outside one run: other runs, real
knock-outs, published numbers.
"""
