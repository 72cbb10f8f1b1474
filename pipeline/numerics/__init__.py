"""Pure arithmetic: decompositions, cuts, rounding and geometry. Nothing here reads or writes files."""
