"""Records into Neo4j: the one connection, statements, loader, streaming and bulk import."""
