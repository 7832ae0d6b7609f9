"""How good a model is, on which slices, against which baseline, and why it answered as it did. Pure numpy."""
