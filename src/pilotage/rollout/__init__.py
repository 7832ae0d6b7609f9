"""Rollout: which release of a system is live at which stage; promotion, rollback, stop; the serving plan made of it."""
