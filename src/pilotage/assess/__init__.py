"""How ready a pilot is: measured on six dimensions, each point with the evidence it stands on."""
