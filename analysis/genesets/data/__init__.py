"""Gene-set files that may be redistributed; licences and releases are in the notice beside each of
them.
"""
