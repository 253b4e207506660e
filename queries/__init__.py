"""Questions to the graph: the Cypher catalogue, the Python functions over it, and what the Neo4j
Browser shows on first open.
"""
