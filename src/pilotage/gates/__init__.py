"""Gates: which checks and approvals stand between two stages, and the verdict at a moment."""
