"""Pure functions from tables to findings: gene-set enrichment, annotation, degrees, hubs, bias,
tail fit, the report.

Tables in (pyarrow or pandas), findings out; no database, no model, no other room.
"""
