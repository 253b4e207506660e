"""How a run happens: inputs loaded and checked, work units computed here or on Ray, results kept,
resumed and streamed.
"""
