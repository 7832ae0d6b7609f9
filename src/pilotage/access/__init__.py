"""People, roles and permissions; tokens, API keys, one-time sign-in links and console sessions."""
