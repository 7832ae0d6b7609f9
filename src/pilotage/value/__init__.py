"""What a system is worth: the business case before it is live, and what of it came true."""
