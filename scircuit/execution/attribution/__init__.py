"""Attribution over the cells of a trace run: targets, records, and the ablations beside it."""
