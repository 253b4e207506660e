"""How expression files store tables and matrices: HDF5 and zarr, by kind of file."""
