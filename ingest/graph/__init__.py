"""Records into Neo4j: connection, statements, loader, streaming and bulk import."""
