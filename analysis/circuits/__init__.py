"""Findings about the edges: degrees, hubs, heavy tail, annotation bias, layer pairs, regulation
signs.
"""
