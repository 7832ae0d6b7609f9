"""Reference profiles and the counts that add up: what the data looked like, in bins, at constant cost."""
