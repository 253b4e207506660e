"""The ground that every room stands on: addresses, schema, configuration, errors, studies on disk,
progress. Imports nothing of ours.
"""
