"""Static signals: each reads content, never its mere presence, and names the place of what it finds."""
