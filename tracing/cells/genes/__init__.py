"""Which gene each column of a matrix is: names as written, the columns of `var` that hold names,
the choice among them and the filling of its gaps.
"""
