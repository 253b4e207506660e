"""Over-representation tests of gene lists in gene sets, their nulls and false discovery rates."""
