"""Parts of the graph for other tools: networkx, igraph, GraphML, tables, attribution viewers."""
