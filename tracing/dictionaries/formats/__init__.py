"""One module for each file format of sparse dictionaries; none of them can run code."""
