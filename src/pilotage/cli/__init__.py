"""The command `pilotage`: one module per concept, imported only when its command runs."""
