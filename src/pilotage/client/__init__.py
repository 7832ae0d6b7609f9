"""The client of a gateway: `pilotage.Client` and `pilotage.AsyncClient`."""
