"""What circuits between features say about pairs of genes, and whether knock-outs agree."""
