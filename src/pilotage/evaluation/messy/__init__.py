"""Messy data: what the contract's door and the model make of rows that went wrong on their way."""
